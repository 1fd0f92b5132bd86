// Line charts as inline SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace unetd::report {

using Points = std::vector<std::pair<double, double>>;  // ascending in x

struct Curve {
  std::string name, color;
  Points points;
};

// A chart over 0 <= x <= x_end, marked at round numbers. `logarithmic` leaves values out that are
// not positive; long curves are thinned to means of neighbouring points. Empty without a point.
std::string line_chart(const std::string& title, const std::vector<Curve>& curves, double x_end,
                       bool logarithmic = false);

}  // namespace unetd::report
