// unetd-infer: a model and scenes in, stitched maps on the scenes' grids out.
#include "engine/base/threads.h"
#include "io/gdal_map_writer.h"
#include "io/gdal_polygons.h"
#include "io/gdal_quicklook.h"
#include "kernels/register.h"
#include "tools/cli.h"
#include "tools/report/values.h"
#include "tools/scene_flags.h"
#include "tools/scene_map.h"

#include <algorithm>

namespace {

using namespace unetd;
using cli::Args;

constexpr int64_t quicklook_side = 1024;  // pixels

cli::Spec spec() {
  cli::Spec spec{
      .program = "unetd-infer",
      .summary = "turn scenes into stitched maps",
      .description =
          "Writes a cloud-optimised GeoTIFF on the scene's grid: class indices with colours and "
          "names, class probabilities, logits, or, of a model that was trained on targets, values "
          "in their unit. Pixels without data in the scene are nodata in the map.\n\n"
          "--stitch exact gives the very map that one pass over the whole scene would give, for "
          "any tile size: tiles read as much of their surroundings as the network can see. "
          "--stitch blend averages overlapping tiles under a window.\n\n"
          "Weights alone do not say what bands they want and how those are normalised: describe "
          "that in a file of the same name with the suffix .yml (docs/weights.md), or give --set "
          "normalisation.method=none to leave the input as it is.",
      .flags = {{.name = "--model",
                 .value = "FILE",
                 .help = "checkpoint of unetd-train, or a UNet's weights as safetensors or in a "
                         "file of torch.save (.pth)",
                 .required = true},
                {.name = "--scene",
                 .value = "SCENE",
                 .help =
                     "GeoTIFF, COG, VRT, folder of band files, STAC item of local files (.json), "
                     "or Sentinel-2 product (.SAFE, .zip, MTD_*.xml)",
                 .required = true,
                 .many = true},
                {.name = "--out",
                 .value = "PATH",
                 .help = "map to write; a folder when several scenes are given",
                 .required = true},
                cli::key_flag("--emit", "inference.emit"),
                cli::key_flag("--tile", "inference.tile"),
                cli::key_flag("--stitch", "inference.stitch"),
                cli::key_flag("--window", "inference.window"),
                cli::key_flag("--overlap", "inference.overlap"),
                cli::key_flag("--tta", "inference.tta"),
                {.name = "--quicklook",
                 .value = "PNG",
                 .help = "a small picture of scene and map side by side"},
                {.name = "--polygons",
                 .value = "GPKG",
                 .help = "the classes' areas as polygons in a GeoPackage"}},
      .groups = {"inference", "runtime"},
      .overwrite = true,
      .examples =
          "unetd-infer --model run/best.ckpt --scene scene.tif --out map.tif "
          "--quicklook map.png\n"
          "unetd-infer --model run/best.ckpt --scene S2A_MSIL1C_20210613.SAFE --extra DEM=dem.tif "
          "\\\n"
          "    --out map.tif\n"};
  for (cli::Flag& flag : cli::scene_flags()) spec.flags.push_back(std::move(flag));
  return spec;
}

io::MapOptions map_options(const Args& args, const ModelFile& model) {
  io::MapOptions options;
  switch (model.config.inference.emit) {
    case Config::Emit::classes:
      options.emit = io::Emit::classes;
      break;
    case Config::Emit::probabilities:
      options.emit = io::Emit::probabilities;
      break;
    case Config::Emit::logits:
      options.emit = io::Emit::logits;
      break;
    case Config::Emit::values:
      options.emit = io::Emit::values;
      options.unit = model.target->data.unit;
      break;
  }
  for (const io::ClassInfo& c : model.classes) {
    options.classes.push_back({c.name, io::rgb(c.color)});
  }
  options.outputs = model.unet.classes;
  options.overwrite = args.overwrite();
  options.metadata = {{"MODEL", args.path("--model").filename().string()}};
  return options;
}

Outputs outputs_of(Config::Emit emit) {
  constexpr Outputs outputs[] = {Outputs::classes, Outputs::probabilities, Outputs::logits,
                                 Outputs::values};
  return outputs[static_cast<size_t>(emit)];
}

// Classes and values are of different networks.
void check_emit(const ModelFile& model, const std::string& path) {
  const Config::Emit emit = model.config.inference.emit;
  const bool values = emit == Config::Emit::values;
  if (!model.target && values)
    throw UsageError(path + " tells classes apart: use --emit classes, probabilities or logits");
  if (model.target && !values && emit != Config::Emit::logits)
    throw UsageError(str(path, " predicts ", model.target->data.name, ": use --emit values"));
}

Tensor map_picture(const std::filesystem::path& map, const ModelFile& model) {
  if (!model.target) return io::class_picture(map, quicklook_side);
  const report::ValueRange range = report::shown_range(model.target->data);
  return io::value_picture(map, range.low, range.high, quicklook_side);
}

// Scene on the left, map on the right.
Tensor side_by_side(const Tensor& left, const Tensor& right) {
  const Shape l = left.shape(), r = right.shape();
  UNETD_CHECK(l.h == r.h && l.c == 4 && r.c == 4, "pictures of ", l, " and ", r);
  Tensor joined({1, l.h, l.w + r.w, 4}, DType::u8);
  const auto from_left = left.span<uint8_t>(), from_right = right.span<uint8_t>();
  const auto to = joined.span<uint8_t>();
  for (int64_t h = 0; h < l.h; ++h) {
    auto* row = to.data() + h * (l.w + r.w) * 4;
    std::copy_n(from_left.data() + h * l.w * 4, l.w * 4, row);
    std::copy_n(from_right.data() + h * r.w * 4, r.w * 4, row + l.w * 4);
  }
  return joined;
}

void infer_scene(const Args& args, const ModelFile& model, SceneMapper& mapper,
                 const std::filesystem::path& path, const std::filesystem::path& out) {
  const io::Scene scene = open_scene(path, model);
  {
    io::MapWriter writer(out, scene.grid(), map_options(args, model));
    std::optional<cli::Progress> progress;
    mapper.map(
        scene,
        [&](const io::Window& window, const Tensor& values, const Tensor& valid) {
          writer.write(window, values, valid);
        },
        [&](int64_t done, int64_t total) {
          if (!progress) progress.emplace(path.filename().string(), total, "tiles");
          progress->update(done);
        });
    progress.reset();
    writer.finish();
  }
  if (args.has("--quicklook")) {
    io::write_png(
        args.path("--quicklook"),
        side_by_side(io::scene_picture(scene, {}, quicklook_side), map_picture(out, model)),
        args.overwrite());
  }
  if (args.has("--polygons")) io::polygonise(out, args.path("--polygons"), args.overwrite());
}

// --out itself for one scene; for several, files in it that are named after the scenes.
std::vector<std::filesystem::path> map_paths(const std::filesystem::path& out,
                                             const std::vector<std::string>& scenes) {
  if (scenes.size() == 1) return {out};
  std::filesystem::create_directories(out);
  std::vector<std::filesystem::path> maps;
  for (const std::string& scene : scenes) {
    maps.push_back(out / (io::scene_name(scene) + ".tif"));
    if (std::ranges::find(maps.begin(), maps.end() - 1, maps.back()) != maps.end() - 1)
      throw UsageError(str("two scenes are named ", io::scene_name(scene),
                           ", their maps would be one file: map them one by one"));
  }
  return maps;
}

void infer(const Args& args) {
  const std::vector<std::string> scenes = args.all("--scene");
  const bool many = scenes.size() > 1, extras = args.has("--quicklook") || args.has("--polygons");
  if (many && extras) throw UsageError("--quicklook and --polygons take a single --scene");
  register_kernels();
  ModelFile model =
      open_model(args.path("--model"), [&](const Config& stored) { return args.config(stored); });
  cli::apply_scene_flags(args, model.scene);
  const auto& config = model.config;
  check_emit(model, args.text("--model"));
  const Config::Emit emit = config.inference.emit;
  if (args.has("--polygons") && emit != Config::Emit::classes)
    throw UsageError("--polygons shows classes; use --emit classes");
  if (args.has("--quicklook") && emit != Config::Emit::classes && emit != Config::Emit::values)
    throw UsageError("--quicklook shows classes or values; use --emit classes or values");
  if (config.runtime.threads > 0) set_thread_count(static_cast<int>(config.runtime.threads));
  const std::vector<std::filesystem::path> maps = map_paths(args.path("--out"), scenes);
  SceneMapper mapper(model, outputs_of(config.inference.emit));
  for (size_t i = 0; i < scenes.size(); ++i) infer_scene(args, model, mapper, scenes[i], maps[i]);
}

}  // namespace

int main(int argc, char** argv) { return cli::run(argc, argv, spec(), infer); }
