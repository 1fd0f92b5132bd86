#include "io/grid.h"

#include "engine/base/error.h"
#include "io/gdal.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace unetd::io {
namespace {

// Coordinates need more digits than a stream gives by default, and no trailing zeros.
std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.12g", value);
  return text;
}

std::string pair(double a, double b) { return str("(", number(a), ", ", number(b), ")"); }

using Transform = std::array<double, 6>;

std::pair<double, double> at(const Transform& g, double column, double row) {
  return {g[0] + column * g[1] + row * g[2], g[3] + column * g[4] + row * g[5]};
}

// The greatest distance between the two grids' corners, in pixels of the first.
double corner_distance(const Grid& a, const Grid& b) {
  const Transform &ga = *a.geotransform, &gb = *b.geotransform;
  const double pixel = std::max(std::hypot(ga[1], ga[4]), 1e-300);
  double worst = 0;
  for (const int corner : {0, 1, 2, 3}) {
    const double column = corner % 2 == 0 ? 0.0 : static_cast<double>(a.width);
    const double row = corner / 2 == 0 ? 0.0 : static_cast<double>(a.height);
    const auto [xa, ya] = at(ga, column, row);
    const auto [xb, yb] = at(gb, column, row);
    worst = std::max(worst, std::hypot(xa - xb, ya - yb) / pixel);
  }
  return worst;
}

}  // namespace

Window intersection(const Window& a, const Window& b) {
  const int64_t x = std::max(a.x, b.x), y = std::max(a.y, b.y);
  return {x, y, std::min(a.x + a.width, b.x + b.width) - x,
          std::min(a.y + a.height, b.y + b.height) - y};
}

std::string grid_difference(const Grid& a, const Grid& b) {
  if (a.width != b.width || a.height != b.height)
    return str("its size is ", b.width, "x", b.height, ", not ", a.width, "x", a.height);
  if (!a.georeferenced() || !b.georeferenced()) return "";
  if (!a.crs.empty() && !b.crs.empty() && !same_crs(a.crs, b.crs))
    return str("its CRS is ", crs_name(b.crs), ", not ", crs_name(a.crs));
  // A tenth of a pixel allows for rounded coordinates, not for another grid.
  if (corner_distance(a, b) <= 0.1) return "";
  const Transform &ga = *a.geotransform, &gb = *b.geotransform;
  const double far = std::hypot(ga[0] - gb[0], ga[3] - gb[3]);
  if (far > 0.1 * std::hypot(ga[1], ga[4]))
    return str("its origin is ", pair(gb[0], gb[3]), ", not ", pair(ga[0], ga[3]));
  return str("its pixel size is ", pair(gb[1], gb[5]), ", not ", pair(ga[1], ga[5]));
}

std::string describe(const Grid& grid) {
  const std::string size = str(grid.width, "x", grid.height, " pixels");
  if (!grid.georeferenced()) return size + " without georeferencing";
  const Transform& g = *grid.geotransform;
  return str(size, " of ", pair(g[1], g[5]), " from ", pair(g[0], g[3]), " in ",
             crs_name(grid.crs));
}

std::string warp_command(const Grid& grid, const Grid& own, const std::string& from) {
  const std::string files = str(" ", from, " OUT.tif");
  const bool rotated =
      grid.georeferenced() && ((*grid.geotransform)[2] != 0 || (*grid.geotransform)[4] != 0);
  if (!grid.georeferenced() || !own.georeferenced() || rotated || grid.crs.empty())
    return str("gdal_translate -r nearest -outsize ", grid.width, " ", grid.height, files);
  const auto [x0, y0] = at(*grid.geotransform, 0, 0);
  const auto [x1, y1] =
      at(*grid.geotransform, static_cast<double>(grid.width), static_cast<double>(grid.height));
  return str("gdalwarp -r near -t_srs ", crs_name(grid.crs), " -te ", number(std::min(x0, x1)), " ",
             number(std::min(y0, y1)), " ", number(std::max(x0, x1)), " ", number(std::max(y0, y1)),
             " -ts ", grid.width, " ", grid.height, files);
}

}  // namespace unetd::io
