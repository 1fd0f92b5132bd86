// A level of a UNet on its way down: batch norm, ReLU and 2x2 max-pooling in one pass over x. No
// operation records these problems; a session puts them in the place of the nodes that were
// recorded (engine/autograd/fusion.h).
//
// The formulas are those of BatchNormApply with ReLU and of MaxPool2x2: an odd last row or column
// has no window. Which pixel of a window is its maximum is decided before y is rounded to `dtype`;
// the first of equals wins, and NaN wins over numbers.
#pragma once

#include "engine/op/registry.h"

namespace unetd {

// y: as x, the skip connection. pooled: (n, h/2, w/2, c), the maximum of y over each window.
struct BatchNormApplyPool {
  static constexpr const char* name = "batch_norm_apply_pool";
  Shape shape;
  DType dtype = DType::f32;

  bool operator==(const BatchNormApplyPool&) const = default;
  constexpr Shape pooled() const { return {shape.n, shape.h / 2, shape.w / 2, shape.c}; }
  struct Buffers {
    const void *x, *gamma, *beta, *mean, *rstd;
    void *y, *pooled;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], in[2], in[3], in[4], out[0], out[1]}; }
};

// Gradients by x, gamma and beta. That of y is dy_skip, and dpooled on top of it where a window has
// its maximum. All of y is recomputed from x: nothing but x need be kept.
struct BatchNormPoolGrad {
  static constexpr const char* name = "batch_norm_pool_grad";
  Shape shape;
  DType dtype = DType::f32;

  bool operator==(const BatchNormPoolGrad&) const = default;
  constexpr Shape pooled() const { return {shape.n, shape.h / 2, shape.w / 2, shape.c}; }
  struct Buffers {
    const void *x, *dy_skip, *dpooled, *gamma, *beta, *mean, *rstd;
    void *dx, *dgamma, *dbeta;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], in[1], in[2], in[3], in[4], in[5], in[6], out[0], out[1], out[2]};
  }
};

}  // namespace unetd
