// The colours of numbers, measured in Oklab by the way back from sRGB.
#include "io/ramp.h"

#include <array>
#include <cmath>
#include <limits>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

using Rgb = std::array<uint8_t, 3>;
using Oklab = std::array<double, 3>;

// sRGB to Oklab by the forward matrices, which the ramps do not use.
Oklab oklab_of(Rgb color) {
  std::array<double, 3> linear{};
  for (size_t i = 0; i < 3; ++i) {
    const double x = color[i] / 255.0;
    linear[i] = x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4);
  }
  const auto [r, g, b] = linear;
  const double l = std::cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const double m = std::cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const double s = std::cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return {0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
          1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
          0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s};
}

double apart(Rgb a, Rgb b) {
  const Oklab x = oklab_of(a), y = oklab_of(b);
  return std::hypot(x[0] - y[0], x[1] - y[1], x[2] - y[2]);
}

double lightness(Rgb color) { return oklab_of(color)[0]; }

// What rounding to bytes changes a step by; where the ramp bends, it cuts a corner, too.
constexpr double rounding = 0.004;

TEST_CASE("ramp: equal steps of a number are equal steps to the eye", "[io][ramp]") {
  constexpr int steps = 20;
  const auto at = [](int i) { return ramp_color(static_cast<double>(i) / steps); };
  double way = 0;
  for (int i = 1; i <= steps; ++i) way += apart(at(i - 1), at(i));
  CHECK(way > 0.75);
  for (int i = 1; i <= steps; ++i) {
    CAPTURE(i);
    CHECK(apart(at(i - 1), at(i)) == Approx(way / steps).margin(rounding));
    CHECK(lightness(at(i)) > lightness(at(i - 1)) + 0.02);
  }
  CHECK(lightness(at(0)) == Approx(0.20).margin(0.005));
  CHECK(lightness(at(steps)) == Approx(0.93).margin(0.005));
}

TEST_CASE("ramp: differences are white at none and alike on both sides", "[io][ramp]") {
  CHECK(difference_color(0) == Rgb{255, 255, 255});
  constexpr int steps = 10;
  for (int i = 1; i <= steps; ++i) {
    CAPTURE(i);
    const double x = static_cast<double>(i) / steps, before = static_cast<double>(i - 1) / steps;
    const double step = apart(difference_color(0), difference_color(1)) / steps;
    CHECK(apart(difference_color(x), difference_color(before)) == Approx(step).margin(rounding));
    CHECK(apart(difference_color(-x), difference_color(-before)) == Approx(step).margin(rounding));
    CHECK(lightness(difference_color(x)) ==
          Approx(lightness(difference_color(-x))).margin(rounding));
  }
  const Rgb more = difference_color(1), less = difference_color(-1);
  CHECK(more[0] > more[2] + 80);
  CHECK(less[2] > less[0] + 80);
}

TEST_CASE("ramp: what lies outside has the colour of the end", "[io][ramp]") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  CHECK(ramp_color(-3) == ramp_color(0));
  CHECK(ramp_color(infinity) == ramp_color(1));
  CHECK(ramp_color(NAN) == ramp_color(0));
  CHECK(ramp_color(0) != ramp_color(1));
  CHECK(difference_color(-infinity) == difference_color(-1));
  CHECK(difference_color(7) == difference_color(1));
  CHECK(difference_color(NAN) == difference_color(0));
}

}  // namespace
}  // namespace unetd::io
