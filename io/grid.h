// Where pixels lie: the size of a raster, its georeferencing, and windows into it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace unetd::io {

// A rectangle of pixels; x runs along columns. It may reach outside a raster where that is said.
struct Window {
  int64_t x = 0, y = 0, width = 0, height = 0;

  bool operator==(const Window&) const = default;
  bool touches(const Window& o) const {
    return x < o.x + o.width && o.x < x + width && y < o.y + o.height && o.y < y + height;
  }
  bool contains(const Window& o) const {
    return o.x >= x && o.y >= y && o.x + o.width <= x + width && o.y + o.height <= y + height;
  }
};

// The common part; its width or height is not positive if there is none.
Window intersection(const Window& a, const Window& b);

inline std::ostream& operator<<(std::ostream& out, const Window& w) {
  return out << w.width << 'x' << w.height << " pixels at (" << w.x << ',' << w.y << ')';
}

// A pixel position whose coordinates are known.
struct GroundControlPoint {
  double column = 0, row = 0, x = 0, y = 0, z = 0;

  bool operator==(const GroundControlPoint&) const = default;
};

struct Grid {
  int64_t width = 0, height = 0;
  // GDAL's six numbers: x = g[0] + column * g[1] + row * g[2], y = g[3] + column * g[4] + row *
  // g[5]. Empty for a raster that has none (a plain picture, or control points only).
  std::optional<std::array<double, 6>> geotransform;
  std::string crs;  // of geotransform or control points: WKT or "EPSG:..."; may be empty
  std::vector<GroundControlPoint> control_points;

  bool operator==(const Grid&) const = default;
  bool georeferenced() const { return geotransform.has_value(); }
  Window whole() const { return {0, 0, width, height}; }
};

// Says in a few words how `b` differs from `a` ("its size is 512x515, not 512x512"), or nothing if
// they agree. Where either has no geotransform, only the sizes are compared.
std::string grid_difference(const Grid& a, const Grid& b);
inline bool same_grid(const Grid& a, const Grid& b) { return grid_difference(a, b).empty(); }

// Size, origin, pixel size and CRS in one line, for messages.
std::string describe(const Grid& grid);

// The command that brings the file `from`, which lies on `own`, onto `grid` by nearest neighbour
// (it is a label raster, or a band whose pixels are to be kept).
std::string warp_command(const Grid& grid, const Grid& own, const std::string& from);

}  // namespace unetd::io
