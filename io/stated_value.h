// Does a sample have the value that a header states for "no data" or "saturated"?
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>

namespace unetd::io {

// `stated` is not NaN.
template <class T>
bool is_stated_value(T sample, double stated) {
  if constexpr (std::is_floating_point_v<T>) {
    // Headers give numbers in decimal, so they may be some units in the last place off.
    const auto wanted = static_cast<float>(std::clamp<double>(
        stated, std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()));
    return std::abs(sample - wanted) <= std::abs(wanted) * 5e-7F;
  } else {
    return static_cast<double>(sample) == stated;
  }
}

// Is the sample its band's nodata value, or no finite number?
template <class T>
bool lacks_data(T sample, std::optional<double> nodata) {
  if constexpr (std::is_floating_point_v<T>)
    if (!std::isfinite(sample)) return true;
  return nodata && !std::isnan(*nodata) && is_stated_value(sample, *nodata);
}

}  // namespace unetd::io
