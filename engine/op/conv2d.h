// Two-dimensional convolution (cross-correlation, as in every deep-learning library) and its two
// gradients, which are operations of their own: each has its own data flow and its own kernels.
//
//   y[n,i,j,k] = bias[k] + sum over r,s,c of x[n, i*stride+r-pad, j*stride+s-pad, c] * w[k,r,s,c]
//
// with zeros outside the image. Images and filters have the problem's type; bias, dw and dbias have
// wide_type(dtype).
#pragma once

#include "engine/op/registry.h"

namespace unetd {

// What the three problems share. x: (n, h, w, c); y: (n, oh, ow, k); filter: (k, r, s, c).
struct ConvGeometry {
  Shape x;
  int64_t k = 1;                // output channels
  int64_t r = 3, s = 3;         // kernel rows and columns
  int64_t stride = 1, pad = 1;  // the same in both directions

  bool operator==(const ConvGeometry&) const = default;
  constexpr Shape y() const {
    return {x.n, (x.h + 2 * pad - r) / stride + 1, (x.w + 2 * pad - s) / stride + 1, k};
  }
  constexpr Shape filter() const { return {k, r, s, x.c}; }
  // Floating-point operations of any of the three, an FMA counted as two.
  constexpr int64_t flops() const { return 2 * y().count() * r * s * x.c; }
};

struct Conv2d {
  static constexpr const char* name = "conv2d";
  ConvGeometry geometry;
  bool bias = false;
  bool relu = false;  // y = max(0, .), for folded inference
  DType dtype = DType::f32;

  bool operator==(const Conv2d&) const = default;
  struct Buffers {
    const void *x, *w, *bias;  // bias (1,1,1,k) or null
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], bias ? in[2] : nullptr, out[0]}; }
};

// dx from dy and w.
struct Conv2dDataGrad {
  static constexpr const char* name = "conv2d_data_grad";
  ConvGeometry geometry;
  DType dtype = DType::f32;

  bool operator==(const Conv2dDataGrad&) const = default;
  struct Buffers {
    const void *dy, *w;
    void* dx;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], out[0]}; }
};

// dw from x and dy, and dbias = sum of dy over n, h, w when there is a bias. Padding is zeroed.
struct Conv2dWeightGrad {
  static constexpr const char* name = "conv2d_weight_grad";
  ConvGeometry geometry;
  bool bias = false;
  DType dtype = DType::f32;

  bool operator==(const Conv2dWeightGrad&) const = default;
  struct Buffers {
    const void *x, *dy;
    void *dw, *dbias;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], out[0], bias ? out[1] : nullptr}; }
};

}  // namespace unetd
