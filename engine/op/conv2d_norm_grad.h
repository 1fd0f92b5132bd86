// The way back through a convolution and the batch norm with ReLU that its image came from: what
// Conv2dDataGrad (conv2d.h) and BatchNormGrad (batch_norm.h) compute, without reading the gradient
// between them once more for its sums. No operation records this problem; a session puts it in the
// place of the two nodes (engine/autograd/fusion.h).
//
//   dz              gradient of the batch norm's result z, the convolution's image; 0 where the
//                   ReLU cut z
//   dx              gradient of the batch norm's image x, through the statistics as well
//   dgamma, dbeta   of its parameters
//
// dx, dgamma and dbeta are those of dz as stored in `dtype`. Parameters, statistics and their
// gradients are (1, 1, 1, c) vectors of wide_type(dtype).
#pragma once

#include "engine/op/batch_norm.h"
#include "engine/op/conv2d.h"

namespace unetd {

struct Conv2dNormGrad {
  static constexpr const char* name = "conv2d_norm_grad";
  ConvGeometry geometry;  // of the convolution
  DType dtype = DType::f32;

  bool operator==(const Conv2dNormGrad&) const = default;
  struct Buffers {
    const void *dy, *w, *x, *gamma, *beta, *mean, *rstd;  // dy: of the convolution's result
    void *dz, *dx, *dgamma, *dbeta;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], in[1], in[2], in[3], in[4], in[5], in[6], out[0], out[1], out[2], out[3]};
  }
  Conv2dDataGrad convolution() const { return {geometry, dtype}; }
  BatchNormGrad norm() const { return {.shape = geometry.x, .relu = true, .dtype = dtype}; }
};

}  // namespace unetd
