// unetd-info: what is this device, build, model, scene, store or checkpoint, and what would it
// need?
#include "engine/base/log.h"
#include "engine/base/threads.h"
#include "engine/device/backend.h"
#include "io/patch_store.h"
#include "io/scene.h"
#include "kernels/register.h"
#include "tests/cases/all.h"
#include "tools/cli.h"
#include "tools/store_tables.h"
#include "tools/tables.h"
#include "unet/checkpoint.h"
#include "unet/trainer.h"

#include <algorithm>
#include <iomanip>
#include <iostream>
#include <set>

#include <nlohmann/json.hpp>

namespace {

using namespace unetd;
using cli::Args;
using nlohmann::ordered_json;

std::vector<cli::Flag> model_flags() {
  return {cli::key_flag("--preset", "model.preset"),
          cli::key_flag("--in-channels", "model.in_channels"),
          cli::key_flag("--classes", "model.classes"),
          cli::key_flag("--width", "model.width"),
          cli::key_flag("--depth", "model.depth"),
          cli::key_flag("--upsample", "model.upsample"),
          cli::key_flag("--conv-bias", "model.conv_bias")};
}

cli::Flag input_flag(const char* fallback) {
  return {.name = "--input",
          .value = "HxW",
          .help = "size of the image in pixels",
          .fallback = fallback};
}

cli::Spec spec() {
  std::vector<cli::Flag> model = model_flags(), memory = model_flags();
  const cli::Flag file{.name = "FILE",
                       .value = "PATH",
                       .help =
                           "checkpoint, safetensors file or .pth whose network it is, instead "
                           "of what the flags say"};
  model.insert(model.begin(), file);
  model.push_back(input_flag("256x256"));
  model.push_back({.name = "--table",
                   .value = "NAME",
                   .help = "parameters: every trained tensor; layers: blocks with their input",
                   .fallback = "layers",
                   .choices = {"parameters", "layers"}});
  memory.push_back(input_flag("256x256"));
  memory.push_back(cli::key_flag("--batch", "training.batch"));
  const auto path = [](const char* name, const char* help) {
    return cli::Flag{.name = name, .value = "PATH", .help = help, .required = true};
  };
  return {.program = "unetd-info",
          .summary = "tell what a device, model, scene, store or checkpoint is",
          .description = "Prints facts; changes nothing.",
          .commands = {{"device", "the device, the processor and this build", {}},
                       {"kernels", "which implementation exists for which operation", {}},
                       {"model", "the network's layers or parameters", model},
                       {"scene", "bands, size and georeferencing", {path("SCENE", "scene")}},
                       {"store", "bands, classes, splits", {path("STORE", "patch store")}},
                       {"checkpoint",
                        "network, classes, progress",
                        {path("FILE", "checkpoint or weights")}},
                       {"memory", "what training and inference need", memory}},
          .groups = {"model"},
          .json = true,
          .examples =
              "unetd-info model --preset wp99cp --in-channels 13 --classes 4 --input "
              "256x256\n"
              "unetd-info model unet.pth --table parameters\n"};
}

void print(const ordered_json& facts, bool json) {
  if (json) {
    std::cout << facts.dump(1) << '\n';
    return;
  }
  for (const auto& [key, value] : facts.items()) {
    std::cout << key << ": " << (value.is_string() ? value.get<std::string>() : value.dump())
              << '\n';
  }
}

void device(const Args& args) {
  const DeviceType type = open_device(args.config().runtime.device);
  const DeviceInfo info = backend(type).info();
  ordered_json facts{{"version", UNETD_VERSION},
                     {"processor", cpu_name()},
                     {"threads", thread_count()},
                     {"avx512", static_cast<bool>(__builtin_cpu_supports("avx512f"))},
                     {"avx2", static_cast<bool>(__builtin_cpu_supports("avx2"))},
                     {"device", name_of(type)},
                     {"name", info.name},
                     {"memory_mib", info.total_bytes >> 20},
                     {"memory_free_mib", info.free_bytes >> 20}};
  for (const auto& [key, value] : info.more) facts[key] = value;
  print(facts, args.json());
}

void kernels(const Args& args) {
  // GPU kernels are listed where there is no GPU, too.
  const std::string reason = load_cuda();
  if (!reason.empty() && !cuda_library_file().empty()) log_warning(reason);
  ordered_json table;
  for_each_problem([&]<class P>() {
    for (const DeviceType d : {DeviceType::cpu, DeviceType::simt, DeviceType::cuda}) {
      auto names = ordered_json::array();
      for (const Impl<P>& impl : impls<P>(d)) names.push_back(impl.name);
      if (!names.empty()) table[P::name][std::string(name_of(d))] = names;
    }
  });
  if (args.json()) {
    std::cout << table.dump(1) << '\n';
    return;
  }
  for (const auto& [problem, devices] : table.items()) {
    std::cout << std::left << std::setw(30) << problem;
    for (const auto& [name, list] : devices.items()) {
      std::cout << name << ":";
      for (const auto& impl : list) std::cout << ' ' << impl.get<std::string>();
      std::cout << "  ";
    }
    std::cout << '\n';
  }
}

std::pair<int64_t, int64_t> input_size(const Args& args, const UNetConfig& c) {
  const std::string text = args.text("--input");
  int64_t h = 0, w = 0;
  char x = 0, rest = 0;
  std::istringstream in(text);
  const int64_t least = std::max(c.stride(), c.valid ? c.input_side(1) : 0);
  if (!(in >> h >> x >> w) || x != 'x' || in >> rest || h < least || w < least) {
    throw UsageError(str("--input: '", text, "' is no size HxW of at least ", least, "x", least,
                         ", such as 256x256"));
  }
  return {h, w};
}

UNetConfig model_config(const Args& args) {
  UNetConfig c = unet_config(args.config(), 0, 0);
  if (c.in_channels == 0) c.in_channels = UNetConfig{}.in_channels;
  if (c.classes == 0) c.classes = UNetConfig{}.classes;
  return c;
}

void model(const Args& args) {
  const UNetConfig c =
      args.has("FILE") ? Checkpoint(args.path("FILE")).model() : model_config(args);
  const auto [h, w] = input_size(args, c);
  std::cout << (args.text("--table") == "parameters" ? parameter_table(c) : layer_table(c, h, w));
}

void scene(const Args& args) {
  const io::Scene s = io::Scene::open(args.path("SCENE"));
  ordered_json bands = ordered_json::array();
  for (const io::SceneBand& b : s.bands()) {
    bands.push_back(ordered_json{{"name", b.name},
                                 {"nodata", b.nodata ? ordered_json(*b.nodata) : ordered_json()},
                                 {"scale", b.scale},
                                 {"offset", b.offset}});
  }
  print({{"scene", s.path().string()},
         {"grid", io::describe(s.grid())},
         {"type", std::string(name_of(s.dtype()))},
         {"bands", bands}},
        args.json());
}

void store(const Args& args) {
  const io::PatchStore s = io::PatchStore::open(args.path("STORE"));
  const io::StoreSchema& schema = s.schema();
  ordered_json facts{{"patch", schema.patch}, {"type", std::string(name_of(schema.dtype))}};
  if (schema.target) facts["target"] = to_json(*schema.target);
  for (size_t i = 0; i < schema.bands.size(); ++i) {
    const io::BandStatistics& b = schema.statistics[i];
    facts["bands"].push_back(ordered_json{{"name", schema.bands[i].name},
                                          {"mean", b.mean},
                                          {"deviation", b.stddev},
                                          {"min", b.min},
                                          {"max", b.max}});
  }
  for (size_t i = 0; i < io::split_names.size(); ++i) {
    ordered_json split{{"patches", s.indices(static_cast<io::Split>(i)).size()}};
    for (size_t c = 0; c < schema.classes.size(); ++c) {
      split["pixels"][schema.classes[c].name] = schema.class_pixels[i][c];
    }
    facts[io::split_names[i]] = split;
  }
  print(facts, args.json());
}

void checkpoint(const Args& args) {
  const Checkpoint file(args.path("FILE"));
  const UNetConfig c = file.model();
  ordered_json facts{{"in_channels", c.in_channels},
                     {"classes", c.classes},
                     {"width", c.width},
                     {"depth", c.depth},
                     {"bilinear", c.bilinear},
                     {"conv_bias", c.conv_bias},
                     {"padding", c.valid ? "valid" : "same"},
                     {"norm", c.norm ? "batch" : "none"},
                     {"block", c.single ? "single" : "double"},
                     {"down", c.strided ? "strided" : "maxpool"},
                     {"skips", c.skips}};
  for (const auto& [key, value] : file.metadata()) facts[key] = value;
  print(facts, args.json());
}

void memory(const Args& args) {
  const UNetConfig c = model_config(args);
  const auto [h, w] = input_size(args, c);
  const Config config = args.config();
  const Shape batch{config.training.batch, h, w, c.in_channels};
  Trainer trainer(config, c, batch, 1, {}, DType::u16);
  const MemoryReport report = trainer.session().memory();
  const auto mib = [](size_t bytes) { return bytes >> 20; };
  print({{"training_arena_mib", mib(report.arena)},
         {"training_least_possible_mib", mib(report.peak_live)},
         {"training_without_sharing_mib", mib(report.sum)},
         {"parameters_and_optimizer_mib", mib(report.external)}},
        args.json());
}

void info(const Args& args) {
  register_kernels();
  const std::string_view command = args.command();
  if (command == "device") return device(args);
  if (command == "kernels") return kernels(args);
  if (command == "model") return model(args);
  if (command == "scene") return scene(args);
  if (command == "store") return store(args);
  if (command == "checkpoint") return checkpoint(args);
  memory(args);
}

}  // namespace

int main(int argc, char** argv) { return cli::run(argc, argv, spec(), info); }
