#include "io/ramp.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

namespace unetd::io {
namespace {

// Lightness in [0, 1], green to red, blue to yellow.
using Oklab = std::array<double, 3>;

// Our own points, each inside sRGB with all that lies between them; lightness rises throughout.
constexpr std::array<Oklab, 5> ramp = {{{0.20, 0.035, -0.061},
                                        {0.36, 0.021, -0.118},
                                        {0.54, -0.055, -0.065},
                                        {0.72, -0.106, 0.028},
                                        {0.93, -0.041, 0.155}}};
// Both ends are as dark and as far from white as the other.
constexpr Oklab white = {1, 0, 0}, blue = {0.5, -0.036, -0.135}, red = {0.5, 0.115, 0.080};

double distance(const Oklab& a, const Oklab& b) {
  return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

Oklab between(const Oklab& a, const Oklab& b, double t) {
  return {std::lerp(a[0], b[0], t), std::lerp(a[1], b[1], t), std::lerp(a[2], b[2], t)};
}

// The point at the share x of the way through all of them.
Oklab on_way(std::span<const Oklab> points, double x) {
  double length = 0;
  for (size_t i = 1; i < points.size(); ++i) length += distance(points[i - 1], points[i]);
  double left = x * length;
  for (size_t i = 1; i < points.size(); ++i) {
    const double part = distance(points[i - 1], points[i]);
    if (left <= part) return between(points[i - 1], points[i], left / part);
    left -= part;
  }
  return points.back();
}

// sRGB's transfer function (IEC 61966-2-1), and a byte.
uint8_t encoded(double linear) {
  const double x = std::clamp(linear, 0.0, 1.0);
  const double curved = x <= 0.0031308 ? 12.92 * x : 1.055 * std::pow(x, 1 / 2.4) - 0.055;
  return static_cast<uint8_t>(std::lround(255 * curved));
}

// By the matrices of Ottosson's page.
std::array<uint8_t, 3> rgb_of(const Oklab& c) {
  const auto cube = [](double x) { return x * x * x; };
  const double l = cube(c[0] + 0.3963377774 * c[1] + 0.2158037573 * c[2]);
  const double m = cube(c[0] - 0.1055613458 * c[1] - 0.0638541728 * c[2]);
  const double s = cube(c[0] - 0.0894841775 * c[1] - 1.2914855480 * c[2]);
  return {encoded(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          encoded(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          encoded(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

// In [low, high]; NaN is 0.
double within(double x, double low, double high) {
  return std::isnan(x) ? 0 : std::clamp(x, low, high);
}

}  // namespace

std::array<uint8_t, 3> ramp_color(double x) { return rgb_of(on_way(ramp, within(x, 0, 1))); }

std::array<uint8_t, 3> difference_color(double x) {
  const double share = within(x, -1, 1);
  return rgb_of(between(white, share < 0 ? blue : red, std::abs(share)));
}

}  // namespace unetd::io
