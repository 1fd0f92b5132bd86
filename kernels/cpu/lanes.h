// What kernels share that hold a pixel's channels, up to 16, in one vector. Include it after isa.h.
#pragma once

#include "engine/tensor/layout.h"
#include "kernels/cpu/isa.h"

#include <algorithm>

namespace unetd::UNETD_ISA {

// exp(x) for x <= 0, relative error below 2e-7: 2^n * polynomial (Taylor, degree 6) on +-ln2/2.
inline Vec exp_nonpositive(const Vec& x) {
  const Vec clamped = choose(x < -87.0F, splat(-87.0F), x);  // 2^-126: the smallest normal number
  const Vec scaled = clamped * 1.44269504F;
  const Mask n =
      __builtin_convertvector(scaled - 0.5F, Mask);  // truncation rounds these to nearest
  const Vec whole = __builtin_convertvector(n, Vec);
  const Vec r = clamped - whole * 0.693359375F + whole * 2.12194440e-4F;
  Vec p = splat(1.0F / 720);
  for (const float coefficient : {1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F}) {
    p = p * r + coefficient;
  }
  const Mask exponent = (n + 127) << 23;
  Vec power;
  static_assert(sizeof power == sizeof exponent);
  __builtin_memcpy(&power, &exponent, sizeof power);
  return p * power;
}

inline float horizontal_max(const Vec& v) {
  float most = v[0];
  for (int k = 1; k < block; ++k) most = std::max(most, v[k]);
  return most;
}
inline float horizontal_sum(const Vec& v) {
  float sum = 0;
  for (int k = 0; k < block; ++k) sum += v[k];
  return sum;
}

inline const Mask lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

}  // namespace unetd::UNETD_ISA
