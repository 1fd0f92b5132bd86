// What the losses of regression (engine/op/regression.h) make of sums and pixels, which kernels on
// CPUs and GPUs share; the reference has its own.
#pragma once

#include "engine/base/host_device.h"
#include "engine/op/regression.h"

namespace unetd {

// The sums of a single pixel. Differences of f32 numbers are taken in double: next to none of their
// digits is lost.
UNETD_HOST_DEVICE inline ImageErrors errors_of(float value, float target) {
  if (target != target) return {};
  const double t = target, e = double{value} - t;
  return {1, e, e < 0 ? -e : e, e * e, t, t * t};
}

// What an image adds to the loss, and to the number by which all images' sum is divided.
struct LossShare {
  double loss, divisor;
};
template <RegressionLoss::Norm norm>
struct RegressionRule {
  using Norm = RegressionLoss::Norm;

  UNETD_HOST_DEVICE static LossShare share_of(const ImageErrors& s) {
    if constexpr (norm == Norm::squared) {
      return {s.squared, s.pixels};
    } else if constexpr (norm == Norm::absolute) {
      return {s.absolute, s.pixels};
    } else {
      const double mean = s.pixels == 0 ? 0 : s.error / s.pixels;
      return {mean * mean, s.pixels == 0 ? 0.0 : 1.0};
    }
  }
  // What gradient() takes for the pixels of an image. scale: the loss's factor over the divisor.
  UNETD_HOST_DEVICE static float slope_of(const ImageErrors& s, double scale) {
    if constexpr (norm == Norm::squared) {
      return static_cast<float>(2 * scale);
    } else if constexpr (norm == Norm::absolute) {
      return static_cast<float>(scale);
    } else {
      return s.pixels == 0 ? 0.F : static_cast<float>(2 * scale * s.error / (s.pixels * s.pixels));
    }
  }
  UNETD_HOST_DEVICE static float gradient(float value, float target, float slope) {
    if (target != target) return 0;
    if constexpr (norm == Norm::squared) {
      return slope * (value - target);
    } else if constexpr (norm == Norm::absolute) {
      return value > target ? slope : value < target ? -slope : 0.F;
    } else {
      return slope;
    }
  }
};

}  // namespace unetd
