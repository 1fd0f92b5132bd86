// A convolution together with the statistics that batch normalisation takes of its result: what
// Conv2d (conv2d.h) and the first half of BatchNorm (batch_norm.h) compute, without reading y
// again.
//
//   y           as Conv2d without ReLU
//   mean, rstd  of each channel of y, as stored in `dtype`, over n, h, w; rstd = 1 / sqrt(var +
//   eps)
//               with the biased variance
//   running_*   updated in place: running = (1 - momentum) * running + momentum * batch, with the
//               unbiased variance
//
// Statistics are (1, 1, 1, k) vectors of wide_type(dtype).
#pragma once

#include "engine/op/conv2d.h"

namespace unetd {

struct Conv2dStats {
  static constexpr const char* name = "conv2d_stats";
  ConvGeometry geometry;
  float eps = 1e-5F, momentum = 0.1F;
  bool bias = false;
  DType dtype = DType::f32;

  bool operator==(const Conv2dStats&) const = default;
  struct Buffers {
    const void *x, *w, *bias;  // bias (1,1,1,k) or null
    void *y, *mean, *rstd, *running_mean, *running_var;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], in[1], bias ? in[2] : nullptr, out[0], out[1], out[2], out[3], out[4]};
  }
  Conv2d convolution() const { return {.geometry = geometry, .bias = bias, .dtype = dtype}; }
};

}  // namespace unetd
