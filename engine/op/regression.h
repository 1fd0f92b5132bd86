// Losses of regression, where a network tells one number a pixel, and the sums that they and the
// scores of an evaluation are made of. With the error e = value - target over the valid pixels:
//
//   squared    sum of e^2 / M, the mean squared error, M the valid pixels of the whole batch
//   absolute   sum of |e| / M, the mean absolute error
//   mass       mean of (sum of e / m)^2 over the images with a valid pixel, sum and number m of
//              valid pixels being the image's: how far its total is off, by pixel, squared
//
// values: (n, h, w, 1), features, as a network leaves them.
// targets: dense f32 (n, h, w, 1), in the values' unit; NaN means "ignore": no loss, no gradient.
// The others are finite.
#pragma once

#include "engine/base/host_device.h"
#include "engine/op/registry.h"

#include <limits>

namespace unetd {

// The target of a pixel that has none.
inline constexpr float no_target = std::numeric_limits<float>::quiet_NaN();

// Over the valid pixels of one image. Without any, all of it is 0.
struct ImageErrors {
  double pixels = 0;
  double error = 0, absolute = 0, squared = 0;  // sums of e, |e|, e^2
  double target = 0, target_squared = 0;        // sums of t, t^2

  bool operator==(const ImageErrors&) const = default;
  UNETD_HOST_DEVICE constexpr ImageErrors operator+(const ImageErrors& o) const {
    return {pixels + o.pixels,   error + o.error,   absolute + o.absolute,
            squared + o.squared, target + o.target, target_squared + o.target_squared};
  }
};
// Of how many elements the record consists, as tensors hold it.
inline constexpr int64_t error_fields = sizeof(ImageErrors) / sizeof(double);

// sums: dense f64 (n, 1, 1, error_fields), an ImageErrors for each image. Differences, squares and
// sums are taken in double, in an order that depends on the shape alone. A valid pixel whose value
// is not finite makes the image's sums of e, |e| and e^2 not finite.
struct ErrorSums {
  static constexpr const char* name = "error_sums";
  Shape values;
  DType dtype = DType::f32;

  bool operator==(const ErrorSums&) const = default;
  struct Buffers {
    const void* values;
    const float* targets;
    ImageErrors* sums;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const float*>(in[1]), static_cast<ImageErrors*>(out[0])};
  }
};

// A loss and its gradient in one operation. The loss follows from `sums`, which are ErrorSums of
// the same values and targets; the pixels are read for the gradient only, which goes through the
// sums as well: with K images that have a valid pixel, that of a pixel is
//   squared: 2 e / M     absolute: sign(e) / M, 0 where e is     mass: 2 (sum of e / m) / (K m)
// loss: one f32 (f64 in f64 problems), 0 when no pixel is valid, not finite when a valid pixel's
// value is not. dvalues: as the values. factor: multiplies both, for weighted sums of losses.
struct RegressionLoss {
  static constexpr const char* name = "regression_loss";
  enum class Norm : uint8_t { squared, absolute, mass };
  Shape values;
  Norm norm = Norm::squared;
  float factor = 1;
  DType dtype = DType::f32;

  bool operator==(const RegressionLoss&) const = default;
  struct Buffers {
    const void* values;
    const float* targets;
    const ImageErrors* sums;
    void *loss, *dvalues;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const float*>(in[1]), static_cast<const ImageErrors*>(in[2]), out[0],
            out[1]};
  }
};

}  // namespace unetd
