#include "tools/scene_flags.h"

#include "engine/base/error.h"

namespace unetd::cli {
namespace {

// "DEM=/data/dem.tif:cubic". The part behind the last colon is a method only if it is one: paths
// may hold colons.
io::ExtraRaster extra_raster(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw UsageError(str("--extra: '", text, "' is not of the form NAME=PATH[:METHOD]"));
  io::ExtraRaster extra{text.substr(0, equals), text.substr(equals + 1)};
  const std::string path = extra.path.string();
  for (const auto method :
       {io::Resampling::nearest, io::Resampling::bilinear, io::Resampling::cubic}) {
    const std::string suffix = std::string(":") + io::name_of(method);
    if (!path.ends_with(suffix)) continue;
    extra.path = path.substr(0, path.size() - suffix.size());
    extra.resampling = method;
  }
  return extra;
}

}  // namespace

std::vector<Flag> scene_flags() {
  return {
      {.name = "--extra",
       .value = "NAME=PATH[:METHOD]",
       .help = "a raster as a further band, such as a terrain model, brought onto the scene's "
               "grid by METHOD (nearest, bilinear, cubic; bilinear by default); in PATH {folder} "
               "stands for the scene's folder and {scene} for its name",
       .many = true},
      {.name = "--granule",
       .value = "TILE",
       .help = "of a Sentinel-2 product with several, such as T32TQR"},
      {.name = "--scale",
       .value = "FACTOR",
       .help = "physical value = sample * FACTOR + TERM, instead of what the files say",
       .kind = Kind::number},
      {.name = "--offset", .value = "TERM", .help = "see --scale", .kind = Kind::number}};
}

void apply_scene_flags(const Args& args, io::SceneOptions& options) {
  options.granule = args.text("--granule");
  if (args.has("--scale")) options.scale = args.number("--scale");
  if (args.has("--offset")) options.offset = args.number("--offset");
  for (const std::string& text : args.all("--extra")) options.extras.push_back(extra_raster(text));
}

}  // namespace unetd::cli
