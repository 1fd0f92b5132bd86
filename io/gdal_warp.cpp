#include "engine/base/error.h"
#include "io/gdal.h"

#include <cstdio>
#include <memory>
#include <type_traits>

#include <cpl_string.h>
#include <gdal.h>
#include <gdal_utils.h>

namespace unetd::io {
namespace {

// References are counted: a warped data set keeps its source.
struct Release {
  void operator()(GDALDatasetH handle) const { GDALReleaseDataset(handle); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<GDALDatasetH>, Release>;

class Arguments {
 public:
  void add(const char* word) { words_.AddString(word); }
  void add(double number) {
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", number);
    add(text);
  }
  char** list() { return words_.List(); }

 private:
  CPLStringList words_;
};

Arguments warp_arguments(const Grid& grid, Resampling resampling) {
  const auto& g = *grid.geotransform;
  const double right = g[0] + g[1] * static_cast<double>(grid.width);
  const double bottom = g[3] + g[5] * static_cast<double>(grid.height);
  constexpr const char* methods[] = {"near", "bilinear", "cubic"};
  Arguments a;
  // No approximated coordinates and no overviews: a map must not depend on how it is cut in tiles.
  for (const char* word : {"-of", "VRT", "-et", "0", "-ovr", "NONE", "-ot", "Float32", "-dstnodata",
                           "nan", "-r", methods[static_cast<size_t>(resampling)], "-t_srs"})
    a.add(word);
  a.add(grid.crs.c_str());
  a.add("-te");
  for (const double edge : {g[0], bottom, right, g[3]}) a.add(edge);
  a.add("-ts");
  for (const int64_t size : {grid.width, grid.height}) a.add(static_cast<double>(size));
  return a;
}

void check_grid(const std::filesystem::path& path, const Grid& grid) {
  const bool north_up = grid.georeferenced() && (*grid.geotransform)[2] == 0 &&
                        (*grid.geotransform)[4] == 0 && (*grid.geotransform)[5] < 0;
  if (!north_up || grid.crs.empty())
    throw UserError(str("cannot bring ", path.string(),
                        " onto the scene: the scene lacks a coordinate system, or is rotated "
                        "(warp the scene first, gdalwarp -t_srs EPSG:...)"));
}

}  // namespace

Dataset Dataset::open_on(const std::filesystem::path& path, const Grid& grid,
                         Resampling resampling) {
  check_grid(path, grid);
  const Dataset plain = open(path);  // its messages are the better ones
  if (plain.bands().size() != 1)
    throw UserError(str(path.string(), " has ", plain.bands().size(),
                        " bands: take one out with gdal_translate -b"));
  if (!plain.grid().georeferenced() || plain.grid().crs.empty())
    throw UserError(str(path.string(),
                        " has no coordinate system, so nobody knows where it lies: assign it with "
                        "gdal_translate -a_srs"));
  const GdalErrors errors(path);
  const char* const remedy = "bring it onto the scene's grid yourself, with gdalwarp";
  const Handle source(
      GDALOpenEx(path.c_str(), GDAL_OF_RASTER | GDAL_OF_READONLY, nullptr, nullptr, nullptr));
  errors.check(source != nullptr, "open", remedy);
  const std::unique_ptr<GDALWarpAppOptions, decltype(&GDALWarpAppOptionsFree)> options(
      GDALWarpAppOptionsNew(warp_arguments(grid, resampling).list(), nullptr),
      GDALWarpAppOptionsFree);
  errors.check(options != nullptr, "warp", remedy);
  GDALDatasetH from = source.get();
  int usage_error = 0;
  const GDALDatasetH warped = GDALWarp("", nullptr, 1, &from, options.get(), &usage_error);
  errors.check(warped != nullptr && usage_error == 0, "warp", remedy);
  return {path, warped, errors};
}

}  // namespace unetd::io
