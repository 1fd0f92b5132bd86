// Element-wise operations on images: ReLU, sum, sigmoid and softmax over channels.
#pragma once

#include "engine/op/registry.h"
#include "engine/tensor/layout.h"

namespace unetd {

namespace detail {
// One image in, one out.
struct Unary {
  Shape shape;
  DType dtype = DType::f32;
  bool operator==(const Unary&) const = default;
  struct Buffers {
    const void* x;
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0]}; }
};
// dx from dy and the forward result y.
struct UnaryGrad {
  Shape shape;
  DType dtype = DType::f32;
  bool operator==(const UnaryGrad&) const = default;
  struct Buffers {
    const void *y, *dy;
    void* dx;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], out[0]}; }
};
}  // namespace detail

// y = max(0, x)
struct Relu : detail::Unary {
  static constexpr const char* name = "relu";
};
// dx = y > 0 ? dy : 0
struct ReluGrad : detail::UnaryGrad {
  static constexpr const char* name = "relu_grad";
};

// y = 1 / (1 + exp(-x)); the layout's padding stays zero
struct Sigmoid : detail::Unary {
  static constexpr const char* name = "sigmoid";
};
// dx = dy * y * (1 - y)
struct SigmoidGrad : detail::UnaryGrad {
  static constexpr const char* name = "sigmoid_grad";
};

// y[c] = exp(x[c]) / sum over channels, computed with the maximum subtracted
struct Softmax : detail::Unary {
  static constexpr const char* name = "softmax";
};
// dx[c] = y[c] * (dy[c] - sum over channels of dy * y)
struct SoftmaxGrad : detail::UnaryGrad {
  static constexpr const char* name = "softmax_grad";
};

// y = a + b; y may be a. Of images, or of dense numbers such as losses.
struct Add {
  static constexpr const char* name = "add";
  Shape shape;
  DType dtype = DType::f32;
  Kind kind = Kind::features;

  bool operator==(const Add&) const = default;
  struct Buffers {
    const void *a, *b;
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], out[0]}; }
};

}  // namespace unetd
