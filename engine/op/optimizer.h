// The optimiser's operations on flat parameter buffers: one launch for the whole model.
#pragma once

#include "engine/op/registry.h"

#include <algorithm>

namespace unetd {

// norm = sqrt(sum of x^2), accumulated in f64 in a fixed order. norm: one f32 (f64 in f64
// problems).
struct GlobalNorm {
  static constexpr const char* name = "global_norm";
  int64_t count = 0;
  DType dtype = DType::f32;

  bool operator==(const GlobalNorm&) const = default;
  struct Buffers {
    const void* x;
    void* norm;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0]}; }
};

// What changes from step to step lives in memory, so that a recorded step can be replayed.
struct OptimizerScalars {
  float learning_rate = 0;
  float bias_correction1 = 1;       // 1 - beta1^t
  float bias_correction2_sqrt = 1;  // sqrt(1 - beta2^t)
  float ema_decay = 0;              // for Ema
  float momentum = 0;               // beta1 of AdamW; of Sgd and RmsProp
};

// Gradients stored in f16 underflow unless the loss is scaled up before it is differentiated. The
// scale adapts itself, on the device (Micikevicius et al., 2018): see GradientFactor.
struct LossScale {
  float scale = 1;
  float good_steps = 0;  // in a row
};

// y = x * loss_scale.scale: of the gradient of the logits.
struct ScaleGradient {
  static constexpr const char* name = "scale_gradient";
  Shape shape;
  DType dtype = DType::f32;

  bool operator==(const ScaleGradient&) const = default;
  struct Buffers {
    const void* x;
    const LossScale* scale;
    void* y;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const LossScale*>(in[1]), out[0]};
  }
};

// What an optimiser multiplies the gradient by, from the gradient's norm and the loss:
//   norm = norm / scale, in place                      scale: 1 unless `scaled`
//   factor = 1 / scale * min(1, max_norm / (norm + 1e-6))    without the minimum if max_norm is 0
// Where norm or loss is not finite the factor is NaN, and the step is left out: a loss may overflow
// whose gradient does not. With `scaled` the loss scale is halved then, and doubled after
// `growth_interval` good steps in a row.
struct GradientFactor {
  static constexpr const char* name = "gradient_factor";
  float max_norm = 0;
  bool scaled = false;
  float growth_interval = 2000;
  DType dtype = DType::f32;

  bool operator==(const GradientFactor&) const = default;
  struct Buffers {
    const void* loss;  // one number of `dtype`, as factor and norm
    void *factor, *norm;
    LossScale* scale;  // null unless scaled
  };
  Buffers bind(In in, Out out) const {
    return {in[0], out[0], out[1], scaled ? static_cast<LossScale*>(out[2]) : nullptr};
  }
};
inline constexpr float largest_loss_scale = 0x1p24F, smallest_loss_scale = 0x1p-14F;

inline constexpr int most_states = 3;
// The buffers of every optimiser, its state in the order of its problem's comment; null where a
// problem has less.
struct UpdateBuffers {
  const void* grad;
  const OptimizerScalars* scalars;
  const void* factor;  // one number, from GradientFactor; NaN leaves everything as it is
  void* param;
  void* state[most_states];
};
inline UpdateBuffers bind_update(In in, Out out) {
  UpdateBuffers b{in[0], static_cast<const OptimizerScalars*>(in[1]), in[2], out[0], {}};
  std::copy(out.begin() + 1, out.end(), b.state);
  return b;
}

// AdamW (Loshchilov and Hutter, 2019), in place, with states m, v and, for amsgrad (Reddi et al.,
// 2018), the largest v so far; beta1 is scalars.momentum:
//   g = grad * factor;   p = p * (1 - lr * weight_decay)
//   m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
//   largest = max(largest, v), which stands for v in the next line
//   p = p - lr / bias_correction1 * m / (sqrt(v) / bias_correction2_sqrt + eps)
// With `coupled` it is Adam (Kingma and Ba, 2015): g = grad * factor + weight_decay * p instead.
struct AdamW {
  static constexpr const char* name = "adamw";
  int64_t count = 0;
  float beta2 = 0.999F, eps = 1e-8F, weight_decay = 0.01F;
  bool coupled = false, amsgrad = false;
  DType dtype = DType::f32;

  bool operator==(const AdamW&) const = default;
  using Buffers = UpdateBuffers;
  Buffers bind(In in, Out out) const { return bind_update(in, out); }
};

// Stochastic gradient descent, in place, with the velocity u as state (none without `momentous`):
//   g = grad * factor + weight_decay * p
//   u = scalars.momentum * u + g
//   p = p - lr * u,  with Nesterov's momentum (Sutskever et al., 2013)  p - lr * (g + momentum * u)
struct Sgd {
  static constexpr const char* name = "sgd";
  int64_t count = 0;
  bool momentous = false, nesterov = false;
  float weight_decay = 0;
  DType dtype = DType::f32;

  bool operator==(const Sgd&) const = default;
  using Buffers = UpdateBuffers;
  Buffers bind(In in, Out out) const { return bind_update(in, out); }
};

// RMSprop (Tieleman and Hinton, 2012), in place, with states v and, if `momentous`, the velocity u:
//   g = grad * factor + weight_decay * p
//   v = alpha v + (1 - alpha) g^2
//   u = scalars.momentum * u + g / (sqrt(v) + eps);   p = p - lr * u
struct RmsProp {
  static constexpr const char* name = "rmsprop";
  int64_t count = 0;
  float alpha = 0.99F, eps = 1e-8F, weight_decay = 0;
  bool momentous = false;
  DType dtype = DType::f32;

  bool operator==(const RmsProp&) const = default;
  using Buffers = UpdateBuffers;
  Buffers bind(In in, Out out) const { return bind_update(in, out); }
};

// Exponential moving average of the parameters: average = d * average + (1 - d) * param, in place,
// with d = scalars.ema_decay. Where d is 0 the old average has no say, be it finite or not.
struct Ema {
  static constexpr const char* name = "ema";
  int64_t count = 0;
  DType dtype = DType::f32;

  bool operator==(const Ema&) const = default;
  struct Buffers {
    const void* param;
    const OptimizerScalars* scalars;
    void* average;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const OptimizerScalars*>(in[1]), out[0]};
  }
};

}  // namespace unetd
