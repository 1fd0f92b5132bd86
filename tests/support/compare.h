// How far a result may lie from the reference, which is computed in f64 from the same rounded
// inputs.
#pragma once

#include "tests/support/data.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace unetd {

// The distance of 1 to the next number, and 0 for integers: they are compared exactly.
constexpr double unit_roundoff(DType t) {
  switch (t) {
    case DType::f64:
      return 0x1p-52;
    case DType::f32:
      return 0x1p-23;
    case DType::f16:
      return 0x1p-10;
    case DType::bf16:
      return 0x1p-7;
    default:
      return 0;
  }
}

// Errors of sums grow with the square root of their length when roundings are independent; the
// factor before it leaves room for Winograd's transforms and approximated exponentials.
struct Tolerance {
  double element;    // largest error of an element, relative to the largest element
  double rms;        // root of the mean square error, relative to the root mean square
  double floor = 0;  // an absolute error that every element may have on top
};
// Sums are in wide_type(dtype); 16-bit results are rounded to `dtype` once, by half its last place,
// which in f16 is large beside a small number.
inline Tolerance tolerance(DType dtype, int64_t reduction) {
  const double error = unit_roundoff(wide_type(dtype)) * std::sqrt(static_cast<double>(reduction));
  const double rounding = wide_type(dtype) == dtype ? 0 : unit_roundoff(dtype) / 2;
  return {16 * error + rounding, 4 * error + rounding, dtype == DType::f16 ? 0x1p-25 : 0};
}

// The same after one rounding more.
inline Tolerance with_rounding(Tolerance t, DType storage) {
  const Tolerance once = tolerance(storage, 0);
  return {t.element + once.element, t.rms + once.rms, t.floor + once.floor};
}

// What is wrong with `got`, or an empty string. NaN equals NaN only.
inline std::string difference(const Tensor& got, const Tensor& want, const Tolerance& allowed) {
  UNETD_CHECK(got.shape() == want.shape(), got.shape(), " is compared with ", want.shape());
  const std::vector<double> a = doubles(got), b = doubles(want);
  double largest = 0, worst = 0, square = 0, error_square = 0;
  size_t worst_at = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    if (std::isnan(a[i]) != std::isnan(b[i])) {
      return str("element ", i, " is ", a[i], ", not ", b[i]);
    }
    if (a[i] == b[i] || std::isnan(b[i])) continue;
    const double error = std::max(std::abs(a[i] - b[i]) - allowed.floor, 0.0);
    if (!(error <= worst)) worst = error, worst_at = i;
    error_square += error * error;
  }
  for (const double v : b) {
    if (!std::isfinite(v)) continue;
    largest = std::max(largest, std::abs(v));
    square += v * v;
  }
  if (worst > allowed.element * largest) {
    return str("element ", worst_at, " is ", a[worst_at], ", not ", b[worst_at], ": off by ",
               worst / largest, " of the largest, ", allowed.element, " is allowed");
  }
  if (std::sqrt(error_square) > allowed.rms * std::sqrt(square)) {
    return str("relative root mean square error ", std::sqrt(error_square / square), ", ",
               allowed.rms, " is allowed");
  }
  return {};
}

}  // namespace unetd
