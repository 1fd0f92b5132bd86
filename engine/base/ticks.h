// Round numbers for the axes of charts.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace unetd {

// 1, 2 or 5 times a power of ten: the smallest that is at least x > 0.
inline double round_up(double x) {
  const double power = std::pow(10, std::floor(std::log10(x)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= x * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

// Multiples of `step` in [low, high].
inline std::vector<double> ticks(double low, double high, double step) {
  std::vector<double> all;
  const auto first = static_cast<int64_t>(std::ceil(low / step - 1e-9));
  const auto last = static_cast<int64_t>(std::floor(high / step + 1e-9));
  for (int64_t i = first; i <= last; ++i) all.push_back(static_cast<double>(i) * step);
  return all;
}

}  // namespace unetd
