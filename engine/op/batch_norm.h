// Batch normalisation over n, h, w per channel (Ioffe and Szegedy, 2015), optionally with the ReLU
// that follows it in a UNet fused in.
//
//   y = gamma * (x - mean) * rstd + beta,   rstd = 1 / sqrt(var + eps),   then max(0, y) if relu
//
// Parameters, statistics and their gradients are (1, 1, 1, c) vectors of wide_type(dtype).
#pragma once

#include "engine/op/registry.h"

namespace unetd {

// Training: statistics of the batch (biased variance). `running_*` are updated in place:
// running = (1 - momentum) * running + momentum * batch, with the unbiased variance as PyTorch
// does.
struct BatchNormStats {
  static constexpr const char* name = "batch_norm_stats";
  Shape shape;
  float eps = 1e-5F, momentum = 0.1F;
  DType dtype = DType::f32;

  bool operator==(const BatchNormStats&) const = default;
  struct Buffers {
    const void* x;
    void *mean, *rstd, *running_mean, *running_var;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0], out[1], out[2], out[3]}; }
};

// y from x and the statistics of BatchNormStats.
struct BatchNormApply {
  static constexpr const char* name = "batch_norm_apply";
  Shape shape;
  bool relu = false;
  DType dtype = DType::f32;

  bool operator==(const BatchNormApply&) const = default;
  struct Buffers {
    const void *x, *gamma, *beta, *mean, *rstd;
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], in[2], in[3], in[4], out[0]}; }
};

// Gradients of y by x, gamma and beta, through the statistics as well. The ReLU's mask is
// recomputed from x: nothing but x need be kept.
struct BatchNormGrad {
  static constexpr const char* name = "batch_norm_grad";
  Shape shape;
  bool relu = false;
  DType dtype = DType::f32;

  bool operator==(const BatchNormGrad&) const = default;
  struct Buffers {
    const void *x, *dy, *gamma, *beta, *mean, *rstd;
    void *dx, *dgamma, *dbeta;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], in[1], in[2], in[3], in[4], in[5], out[0], out[1], out[2]};
  }
};

// Evaluation: the running statistics are constants.
struct BatchNormInference {
  static constexpr const char* name = "batch_norm_inference";
  Shape shape;
  float eps = 1e-5F;
  bool relu = false;
  DType dtype = DType::f32;

  bool operator==(const BatchNormInference&) const = default;
  struct Buffers {
    const void *x, *gamma, *beta, *mean, *var;
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], in[2], in[3], in[4], out[0]}; }
};

}  // namespace unetd
