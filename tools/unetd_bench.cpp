// unetd-bench: how fast are the operations, a training step and inference on this machine?
#include "engine/base/file.h"
#include "engine/base/threads.h"
#include "engine/device/backend.h"
#include "engine/device/timing.h"
#include "kernels/register.h"
#include "tools/bench/compare.h"
#include "tools/bench/io.h"
#include "tools/bench/network.h"
#include "tools/bench/ops.h"
#include "tools/cli.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include <nlohmann/json.hpp>

namespace {

using namespace unetd;
using cli::Args;
using nlohmann::ordered_json;

cli::Flag json_flag() {
  return {.name = "--json",
          .value = "FILE",
          .help = "write the results as JSON; -: to standard output, in place of the table"};
}

cli::Flag count_flag(const char* name, const char* help, const char* fallback) {
  return {.name = name,
          .value = "N",
          .help = help,
          .kind = cli::Kind::integer,
          .fallback = fallback,
          .range = "integer >= 1"};
}

cli::Flag tune_flag(const char* help) {
  return {.name = "--tune", .help = help, .kind = cli::Kind::toggle};
}

std::vector<cli::Flag> network_flags() {
  return {
      cli::key_flag("--width", "model.width"),
      cli::key_flag("--depth", "model.depth"),
      cli::key_flag("--upsample", "model.upsample"),
      count_flag("--in-channels", "bands of the image", "13"),
      count_flag("--classes", "classes", "4"),
      count_flag("--size", "side of the square images in pixels", "256"),
      count_flag("--batch", "images a round", "1"),
      count_flag("--rounds", "timed rounds, after two that warm up", "5"),
      tune_flag("the same as runtime.tune=on: the fastest implementations, measured beforehand"),
      json_flag()};
}

std::vector<cli::Flag> io_flags() {
  return {{.name = "--data", .value = "STORE", .help = "patch store to load from"},
          {.name = "--scene",
           .value = "SCENE",
           .help = "product or file to decode; of a product its band B02"},
          {.name = "--readers",
           .value = "N,...",
           .help = "threads to read with, one number after the other",
           .fallback = "1,2,4"},
          count_flag("--batch", "patches a batch", "16"),
          {.name = "--seconds",
           .value = "S",
           .help = "most time for each rate",
           .kind = cli::Kind::number,
           .fallback = "2"},
          json_flag()};
}

cli::Spec spec() {
  const std::vector<cli::Flag> ops = {
      {.name = "--filter", .value = "TEXT", .help = "only cases whose description contains TEXT"},
      {.name = "--impl", .value = "NAME", .help = "only this implementation"},
      {.name = "--seconds",
       .value = "S",
       .help = "time for each implementation of each case",
       .kind = cli::Kind::number,
       .fallback = "0.5"},
      tune_flag("keep which was the fastest, for runtime.tune=on"),
      json_flag()};
  const auto result = [](const char* name, const char* help) {
    return cli::Flag{.name = name, .value = "PATH", .help = help, .required = true};
  };
  return {
      .program = "unetd-bench",
      .summary = "time operations, training steps, inference and reading",
      .description =
          "ops runs every implementation of every operation on the shapes of two real networks, in "
          "f32 and on a GPU in bf16 and f16, too, and compares the median time with what the "
          "device allows, measured in the same run: on the CPU f32 FMAs in registers and a triad "
          "that streams through 512 MiB, on a GPU a matrix product in each type and a copy of its "
          "memory. Rates count the definition's operations and each buffer once. "
          "Between runs the level 2 caches are flushed, not the level 3 cache, which may be "
          "hundreds of MiB on shared servers: there a case that fits into it can exceed the peak "
          "of memory.\n\n"
          "step and infer time a network on random images, on a GPU beside the rate of a matrix "
          "product; --verbose adds a table of the "
          "operations that take the most time.\n\n"
          "io reads a store's shards from beginning to end, then its patches through the loader, "
          "and decodes a scene in blocks of 1024 pixels. Cold figures follow a request to the "
          "system to drop the shards from memory; the share that it kept is told. The loader's "
          "cold figures include the checksums of a store just opened.\n\n"
          "compare prints how many times as fast B is as A.",
      .commands = {{"ops", "every implementation of every operation", ops},
                   {"step", "one training step", network_flags()},
                   {"infer", "inference with folded batch norm", network_flags()},
                   {"io", "loading patches and decoding scenes", io_flags()},
                   {"compare",
                    "two result files",
                    {result("A", "results before"), result("B", "results after")}}},
      .groups = {"model", "runtime"},
      .examples =
          "unetd-bench ops --filter \"conv2d f32\" --json before.json\n"
          "unetd-bench step --width 16 --batch 4 --verbose\n"
          "unetd-bench io --data store --scene scene.SAFE\n"
          "unetd-bench compare before.json after.json\n"};
}

bool table_wanted(const Args& args) { return args.text("--json") != "-"; }

void write_json(const Args& args, const ordered_json& result) {
  if (!args.has("--json")) return;
  const std::string text = result.dump(1) + "\n";
  if (table_wanted(args)) return write_file(args.path("--json"), text);
  std::fputs(text.c_str(), stdout);
}

ordered_json header(const Args& args) {
  return {{"benchmark", args.command()},
          {"version", UNETD_VERSION},
          {"processor", cpu_name()},
          {"threads", thread_count()}};
}
ordered_json header_with_device(const Args& args) {
  ordered_json result = header(args);
  result["device"] = backend(open_device(args.config().runtime.device)).info().name;
  return result;
}

// --- ops ---------------------------------------------------------------------------------------

ordered_json to_json(const bench::OpCase& c, const bench::Peak& peak) {
  ordered_json result{{"case", c.text},
                      {"problem", c.problem},
                      {"bytes", c.bytes},
                      {"flops", c.flops},
                      {"preferred", c.timings.front().implementation},
                      {"fastest", c.fastest().implementation}};
  for (const bench::OpTiming& t : c.timings) {
    result["implementations"].push_back(ordered_json{{"name", t.implementation},
                                                     {"seconds", t.seconds},
                                                     {"runs", t.runs},
                                                     {"gb_per_s", c.bytes / t.seconds / 1e9},
                                                     {"gflops", c.flops / t.seconds / 1e9},
                                                     {"share_of_peak", c.share_of_peak(t, peak)}});
  }
  return result;
}

void print_peak(DeviceType device, const bench::Peak& peak) {
  const bool cpu = device == DeviceType::cpu;
  std::printf("peak on %s: ",
              cpu ? str(thread_count(), " threads").c_str() : backend(device).info().name.c_str());
  for (const auto& [dtype, flops] : peak.flops)
    std::printf("%.1f GFLOP/s %s, ", flops / 1e9, str(name_of(dtype)).c_str());
  std::printf("%.1f GB/s; * marks the fastest\n\n", peak.bytes / 1e9);
}

void print_case(const bench::OpCase& c, const bench::Peak& peak) {
  std::printf("%s\n", c.text.c_str());
  for (const bench::OpTiming& t : c.timings) {
    std::printf("  %c %-10s %10.3f ms %8.1f GB/s", &t == &c.fastest() ? '*' : ' ',
                t.implementation.c_str(), t.seconds * 1e3, c.bytes / t.seconds / 1e9);
    if (c.flops > 0) std::printf(" %8.1f GFLOP/s", c.flops / t.seconds / 1e9);
    std::printf(" %5.0f %% of peak\n", 100 * c.share_of_peak(t, peak));
  }
  std::fflush(stdout);
}

// Says where the registry's order of preference is wrong on this machine.
std::string complaint(const bench::OpCase& c) {
  constexpr double noise = 1.05;
  const bench::OpTiming &preferred = c.timings.front(), &fastest = c.fastest();
  if (preferred.seconds <= noise * fastest.seconds) return "";
  char ratio[32];
  std::snprintf(ratio, sizeof ratio, "%.2f", preferred.seconds / fastest.seconds);
  return str(c.text, ": ", preferred.implementation, " is preferred, ", fastest.implementation,
             " is ", ratio, " times as fast");
}

void ops(const Args& args) {
  const DeviceType device = open_device(args.config().runtime.device);
  std::optional<TuneStore> tuned;
  if (args.has("--tune")) {
    if (args.has("--impl"))
      throw UsageError("--tune compares all implementations; leave --impl away");
    tuned = TuneStore::present(device);
  }
  const bench::OpsOptions options{device, args.text("--filter"), args.text("--impl"),
                                  args.number("--seconds"), tuned ? &*tuned : nullptr};
  const bool table = table_wanted(args);
  const bench::Peak peak = bench::measure_roofs(options.device);
  if (table) print_peak(options.device, peak);
  ordered_json result = header_with_device(args);
  for (const auto& [dtype, flops] : peak.flops)
    result["peak"]["gflops"][name_of(dtype)] = flops / 1e9;
  result["peak"]["gb_per_s"] = peak.bytes / 1e9;
  result["cases"] = ordered_json::array();
  std::string complaints;
  bench::time_ops(options, [&](const bench::OpCase& c) {
    if (table) print_case(c, peak);
    result["cases"].push_back(to_json(c, peak));
    if (table) write_json(args, result);  // a run that is ended early leaves what it has
    if (const std::string wrong = complaint(c); !wrong.empty()) complaints += wrong + "\n";
  });
  if (result["cases"].empty()) {
    throw UserError("--filter and --impl leave no case; see unetd-info kernels for the names");
  }
  if (tuned) tuned->save();
  if (table && !complaints.empty()) {
    std::printf("\nNot the fastest is preferred:\n%s", complaints.c_str());
  }
  write_json(args, result);
}

// --- step and infer ----------------------------------------------------------------------------

int64_t positive(const Args& args, const char* name) {
  const int64_t value = args.integer(name);
  if (value < 1) throw UsageError(str(name, " is ", value, " but must be at least 1"));
  return value;
}

bench::NetworkOptions network_options(const Args& args) {
  bench::NetworkOptions o;
  o.config = args.config();
  if (args.has("--tune")) o.config.runtime.tune = true;
  o.config.model.in_channels = positive(args, "--in-channels");
  o.config.model.classes = positive(args, "--classes");
  o.model = unet_config(o.config, 0, 0);
  o.size = positive(args, "--size");
  o.batch = positive(args, "--batch");
  o.rounds = positive(args, "--rounds");
  o.profile = args.has("--verbose");
  const int64_t least = o.model.valid ? o.model.input_side(1) : o.model.stride();
  if (o.size < least) {
    throw UsageError(str("--size is ", o.size, ", but a network of depth ", o.model.depth,
                         " needs at least ", least));
  }
  return o;
}

using Nodes = std::vector<Session::NodeReport>;

// The operations that take the most time, and all others in one line.
void print_profile(Nodes nodes) {
  constexpr size_t shown = 20;
  std::ranges::stable_sort(nodes, std::ranges::greater{}, &Session::NodeReport::seconds);
  double total = 0, rest = 0;
  for (const auto& node : nodes) total += node.seconds;
  for (size_t i = shown; i < nodes.size(); ++i) rest += nodes[i].seconds;
  nodes.resize(std::min(shown, nodes.size()));
  for (const auto& node : nodes) {
    std::printf("%10.3f ms %5.1f %%  %-28s %-8s %s\n", node.seconds * 1e3,
                100 * node.seconds / total, node.problem.c_str(), node.implementation.c_str(),
                node.label.c_str());
  }
  std::printf("%10.3f ms %5.1f %%  all others\n", rest * 1e3, 100 * rest / total);
}

void network(const Args& args) {
  const bench::NetworkOptions o = network_options(args);
  const bench::NetworkTiming t =
      args.command() == "step" ? bench::time_step(o) : bench::time_inference(o);
  const double middle = median(t.seconds);
  const size_t arena_mib = t.arena >> 20, memory_mib = (t.arena + t.external) >> 20;
  ordered_json result = header_with_device(args);
  result["network"] = {{"width", o.model.width},
                       {"depth", o.model.depth},
                       {"bilinear", o.model.bilinear},
                       {"in_channels", o.model.in_channels},
                       {"classes", o.model.classes},
                       {"size", o.size},
                       {"batch", o.batch},
                       {"precision", name_of(o.model.compute)}};
  result["tuned"] = o.config.runtime.tune;
  result["seconds"] = t.seconds;
  result["gflops"] = t.flops / middle / 1e9;
  std::string share;
  if (const DeviceType device = open_device(o.config.runtime.device); device != DeviceType::cpu) {
    const double peak = bench::measure_roofs(device).flops.at(o.model.compute);
    result["peak_gflops"] = peak / 1e9;
    share = str(" (", std::lround(100 * t.flops / middle / peak), " % of a matrix product's)");
  }
  result["arena_mib"] = arena_mib;
  result["memory_mib"] = memory_mib;
  if (o.profile) {
    for (const auto& node : t.nodes) {
      result["operations"].push_back(ordered_json{{"label", node.label},
                                                  {"problem", node.problem},
                                                  {"implementation", node.implementation},
                                                  {"seconds", node.seconds}});
    }
  }
  if (table_wanted(args)) {
    std::printf(
        "%.4f s (median of %lld), %.1f GFLOP/s in convolutions%s, memory %zu MiB, %zu of it "
        "arena\n",
        middle, static_cast<long long>(o.rounds), t.flops / middle / 1e9, share.c_str(), memory_mib,
        arena_mib);
    if (o.profile) print_profile(t.nodes);
  }
  write_json(args, result);
}

// --- io ----------------------------------------------------------------------------------------

std::vector<int> readers(const Args& args) {
  const std::string text = args.text("--readers");
  std::vector<int> numbers;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at <= end; ++at) {
    int& number = numbers.emplace_back();
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc{} || (next != end && *next != ',') || number < 1)
      throw UsageError(str("--readers is '", text, "': give numbers of threads such as 1,2,4"));
    at = next;
  }
  return numbers;
}

std::string threads_of(const bench::Rate& r) {
  return str(r.threads, r.threads == 1 ? " thread" : " threads");
}

void print_rate(const bench::Rate& r) {
  std::printf("%-18s %-10s %10.1f %s/s %10.1f MB/s", r.what.c_str(), threads_of(r).c_str(),
              r.items / r.seconds, r.unit.c_str(), r.bytes / r.seconds / 1e6);
  if (r.threads > 1)
    std::printf(" %10.1f %s/s a thread", r.items / r.seconds / r.threads, r.unit.c_str());
  std::printf("\n");
  std::fflush(stdout);
}

ordered_json to_json(const bench::Rate& r) {
  return {{"name", str(r.what, ", ", threads_of(r))},
          {"unit", r.unit},
          {"items", r.items},
          {"bytes", r.bytes},
          {"seconds", r.seconds},
          {"per_second", r.items / r.seconds},
          {"mb_per_s", r.bytes / r.seconds / 1e6}};
}

void io(const Args& args) {
  const bench::IoOptions options{args.path("--data"), args.path("--scene"), readers(args),
                                 positive(args, "--batch"), args.number("--seconds")};
  if (options.store.empty() && options.scene.empty())
    throw UsageError("nothing to read: give --data, --scene or both");
  if (!(options.seconds > 0)) throw UsageError("--seconds must be more than 0");
  ordered_json result = header(args);
  double held = 0;
  bench::time_io(options, held, [&](const bench::Rate& rate) {
    if (table_wanted(args)) print_rate(rate);
    result["rates"].push_back(to_json(rate));
  });
  if (!options.store.empty()) {
    result["kept_in_memory"] = held;
    if (table_wanted(args))
      std::printf("cold: up to %.0f %% of a shard stayed in memory\n", 100 * held);
  }
  write_json(args, result);
}

// --- compare -----------------------------------------------------------------------------------

void compare(const Args& args) {
  const bench::Comparison c = bench::compare(args.path("A"), args.path("B"));
  for (const auto& row : c.rows) {
    std::printf("%8.2f x  %12.3f ms -> %12.3f ms  %s\n", row.speedup(), row.before * 1e3,
                row.after * 1e3, row.name.c_str());
  }
  if (!c.rows.empty()) std::printf("%8.2f x  geometric mean\n", c.mean_speedup());
  for (const std::string& name : c.only_before) std::printf("only in A: %s\n", name.c_str());
  for (const std::string& name : c.only_after) std::printf("only in B: %s\n", name.c_str());
}

void run(const Args& args) {
  register_kernels();
  if (args.command() == "ops") return ops(args);
  if (args.command() == "io") return io(args);
  if (args.command() == "compare") return compare(args);
  network(args);
}

}  // namespace

int main(int argc, char** argv) { return cli::run(argc, argv, spec(), run); }
