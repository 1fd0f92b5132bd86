#include "engine/base/error.h"
#include "io/gdal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <cpl_string.h>
#include <gdal.h>
#include <gdal_alg.h>
#include <gdal_utils.h>

namespace unetd::io {
namespace {

// References are counted: a warped data set keeps its source.
struct Release {
  void operator()(GDALDatasetH handle) const { GDALReleaseDataset(handle); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<GDALDatasetH>, Release>;

std::string number_text(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", number);
  return text;
}

class Arguments {
 public:
  void add(const char* word) { words_.AddString(word); }
  void add(double number) { add(number_text(number).c_str()); }
  char** list() { return words_.List(); }

 private:
  CPLStringList words_;
};

// Source pixels per pixel of the scene along x and y.
using Reduction = std::array<double, 2>;

// No approximated coordinates and no overviews, and one width of the kernels for the whole scene
// (GDAL finds one for each part it warps): values must not depend on how the scene is cut in tiles.
Arguments warp_arguments(const Grid& grid, Resampling resampling,
                         const std::optional<Reduction>& reduction) {
  const auto& g = *grid.geotransform;
  const double right = g[0] + g[1] * static_cast<double>(grid.width);
  const double bottom = g[3] + g[5] * static_cast<double>(grid.height);
  constexpr const char* methods[] = {"near", "bilinear", "cubic"};
  Arguments a;
  for (const char* word : {"-of", "VRT", "-et", "0", "-ovr", "NONE", "-ot", "Float32", "-dstnodata",
                           "nan", "-r", methods[static_cast<size_t>(resampling)], "-t_srs"})
    a.add(word);
  a.add(grid.crs.c_str());
  a.add("-te");
  for (const double edge : {g[0], bottom, right, g[3]}) a.add(edge);
  a.add("-ts");
  for (const int64_t size : {grid.width, grid.height}) a.add(static_cast<double>(size));
  if (!reduction) return a;
  constexpr const char* keys[] = {"XSCALE=", "YSCALE="};
  for (size_t i = 0; i < 2; ++i) {
    a.add("-wo");
    a.add((keys[i] + number_text(1 / (*reduction)[i])).c_str());
  }
  return a;
}

struct DestroyTransformer {
  void operator()(void* transformer) const { GDALDestroyGenImgProjTransformer(transformer); }
};

// What gdalwarp takes when it warps the whole at once: the extent of the scene's outline in the
// source; whole numbers where it comes close to one. None where the outline does not map.
std::optional<Reduction> reduction_of(GDALDatasetH source, GDALDatasetH warped, const Grid& grid) {
  constexpr int steps = 21;
  const std::unique_ptr<void, DestroyTransformer> transformer(
      GDALCreateGenImgProjTransformer2(source, warped, nullptr));
  if (!transformer) return std::nullopt;
  const auto width = static_cast<double>(grid.width), height = static_cast<double>(grid.height);
  std::vector<double> x, y;
  for (int i = 0; i <= steps; ++i) {
    const double part = static_cast<double>(i) / steps;
    x.insert(x.end(), {part * width, part * width, 0, width});
    y.insert(y.end(), {0, height, part * height, part * height});
  }
  std::vector<double> z(x.size());
  std::vector<int> mapped(x.size());
  GDALGenImgProjTransform(transformer.get(), TRUE, static_cast<int>(x.size()), x.data(), y.data(),
                          z.data(), mapped.data());
  if (std::ranges::find(mapped, 0) != mapped.end()) return std::nullopt;
  const auto extent = [](const std::vector<double>& v) {
    const auto [low, high] = std::ranges::minmax(v);
    return high - low;
  };
  Reduction r{extent(x) / width, extent(y) / height};
  constexpr double close = 0.05;
  for (double& value : r) {
    if (!(value > 0)) return std::nullopt;
    const double whole = std::round(value);
    if (whole > 0 && std::abs(value - whole) < close) value = whole;
  }
  return r;
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
  const auto warp = [&](const std::optional<Reduction>& reduction) {
    const std::unique_ptr<GDALWarpAppOptions, decltype(&GDALWarpAppOptionsFree)> options(
        GDALWarpAppOptionsNew(warp_arguments(grid, resampling, reduction).list(), nullptr),
        GDALWarpAppOptionsFree);
    errors.check(options != nullptr, "warp", remedy);
    GDALDatasetH from = source.get();
    int usage_error = 0;
    Handle warped(GDALWarp("", nullptr, 1, &from, options.get(), &usage_error));
    errors.check(warped != nullptr && usage_error == 0, "warp", remedy);
    return warped;
  };
  Handle warped = warp(std::nullopt);
  if (const auto reduction = reduction_of(source.get(), warped.get(), grid))
    warped = warp(reduction);
  return {path, warped.release(), errors};
}

}  // namespace unetd::io
