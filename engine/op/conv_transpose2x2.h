// Transposed convolution with a 2x2 kernel and stride 2: every input pixel becomes a 2x2 patch.
//
//   y[n, 2i+r, 2j+s, k] = bias[k] + sum over c of x[n,i,j,c] * w[k,r,s,c]
//
// Windows do not overlap, so it is one matrix product with a pixel shuffle in its store. Types are
// those of conv2d.h.
#pragma once

#include "engine/op/registry.h"

namespace unetd {

// x: (n, h, w, c); y: (n, 2h, 2w, k); filter: (k, 2, 2, c), kind transposed_filter.
struct UpConvGeometry {
  Shape x;
  int64_t k = 1;

  bool operator==(const UpConvGeometry&) const = default;
  constexpr Shape y() const { return {x.n, 2 * x.h, 2 * x.w, k}; }
  constexpr Shape filter() const { return {k, 2, 2, x.c}; }
  constexpr int64_t flops() const { return 2 * y().count() * x.c; }
};

struct ConvTranspose2x2 {
  static constexpr const char* name = "conv_transpose2x2";
  UpConvGeometry geometry;
  bool bias = true;
  DType dtype = DType::f32;

  bool operator==(const ConvTranspose2x2&) const = default;
  struct Buffers {
    const void *x, *w, *bias;
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], bias ? in[2] : nullptr, out[0]}; }
};

struct ConvTranspose2x2DataGrad {
  static constexpr const char* name = "conv_transpose2x2_data_grad";
  UpConvGeometry geometry;
  DType dtype = DType::f32;

  bool operator==(const ConvTranspose2x2DataGrad&) const = default;
  struct Buffers {
    const void *dy, *w;
    void* dx;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], out[0]}; }
};

struct ConvTranspose2x2WeightGrad {
  static constexpr const char* name = "conv_transpose2x2_weight_grad";
  UpConvGeometry geometry;
  bool bias = true;
  DType dtype = DType::f32;

  bool operator==(const ConvTranspose2x2WeightGrad&) const = default;
  struct Buffers {
    const void *x, *dy;
    void *dw, *dbias;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], out[0], bias ? out[1] : nullptr}; }
};

}  // namespace unetd
