#include "engine/op/pointwise.h"

#include "kernels/ref/ref.h"

#include <cmath>
#include <limits>

namespace unetd::ref {
namespace {

// visit(n, h, w) for every pixel, rows in parallel.
template <class F>
void for_each_pixel(const Shape& s, F&& visit) {
  for_each_row(s, [&](int64_t n, int64_t h) {
    for (int64_t w = 0; w < s.w; ++w) visit(n, h, w);
  });
}

// y = f(x) for every element.
template <class P, class F>
void map(const P& p, const detail::Unary::Buffers& b, F&& f) {
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> x(b.x, p.shape);
    const auto y = cleared<Features<T>>(b.y, p.shape);
    for_each_pixel(p.shape, [&](int64_t n, int64_t h, int64_t w) {
      for (int64_t c = 0; c < p.shape.c; ++c) {
        y(n, h, w, c) = static_cast<T>(f(double{x(n, h, w, c)}));
      }
    });
  });
}

// dx = f(y, dy) for every element.
template <class P, class F>
void map_grad(const P& p, const detail::UnaryGrad::Buffers& b, F&& f) {
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> y(b.y, p.shape), dy(b.dy, p.shape);
    const auto dx = cleared<Features<T>>(b.dx, p.shape);
    for_each_pixel(p.shape, [&](int64_t n, int64_t h, int64_t w) {
      for (int64_t c = 0; c < p.shape.c; ++c) {
        dx(n, h, w, c) = static_cast<T>(f(double{y(n, h, w, c)}, double{dy(n, h, w, c)}));
      }
    });
  });
}

// NaN passes, as it does in PyTorch: a lost number must not look like a zero.
void relu(const Relu& p, const Relu::Buffers& b) {
  map(p, b, [](double x) { return x < 0 ? 0.0 : x; });
}

void relu_grad(const ReluGrad& p, const ReluGrad::Buffers& b) {
  map_grad(p, b, [](double y, double dy) { return y > 0 ? dy : 0.0; });
}

void sigmoid(const Sigmoid& p, const Sigmoid::Buffers& b) {
  map(p, b, [](double x) { return 1 / (1 + std::exp(-x)); });
}

void sigmoid_grad(const SigmoidGrad& p, const SigmoidGrad::Buffers& b) {
  map_grad(p, b, [](double y, double dy) { return dy * y * (1 - y); });
}

void softmax(const Softmax& p, const Softmax::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> x(b.x, p.shape);
    const auto y = cleared<Features<T>>(b.y, p.shape);
    for_each_pixel(p.shape, [&](int64_t n, int64_t h, int64_t w) {
      double top = -std::numeric_limits<double>::infinity(), sum = 0;
      for (int64_t c = 0; c < p.shape.c; ++c) top = std::max(top, double{x(n, h, w, c)});
      for (int64_t c = 0; c < p.shape.c; ++c) sum += std::exp(x(n, h, w, c) - top);
      for (int64_t c = 0; c < p.shape.c; ++c) {
        y(n, h, w, c) = static_cast<T>(std::exp(x(n, h, w, c) - top) / sum);
      }
    });
  });
}

void softmax_grad(const SoftmaxGrad& p, const SoftmaxGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> y(b.y, p.shape), dy(b.dy, p.shape);
    const auto dx = cleared<Features<T>>(b.dx, p.shape);
    for_each_pixel(p.shape, [&](int64_t n, int64_t h, int64_t w) {
      double dot = 0;
      for (int64_t c = 0; c < p.shape.c; ++c) dot += double{y(n, h, w, c)} * dy(n, h, w, c);
      for (int64_t c = 0; c < p.shape.c; ++c) {
        dx(n, h, w, c) = static_cast<T>(y(n, h, w, c) * (dy(n, h, w, c) - dot));
      }
    });
  });
}

// Over the storage as it lies: padding adds up to zero, and y may be a.
void add_storage(const Add& p, const Add::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const T *from_a = static_cast<const T*>(b.a), *from_b = static_cast<const T*>(b.b);
    T* y = static_cast<T*>(b.y);
    const int64_t count = storage_count(layout_of(DeviceType::cpu), p.kind, p.shape);
    parallel_for(count, [&](int64_t i) { y[i] = from_a[i] + from_b[i]; });
  });
}

}  // namespace

void register_pointwise() {
  add<relu, Relu>();
  add<relu_grad, ReluGrad>();
  add<sigmoid, Sigmoid>();
  add<sigmoid_grad, SigmoidGrad>();
  add<softmax, Softmax>();
  add<softmax_grad, SoftmaxGrad>();
  add<add_storage, Add>();
}

}  // namespace unetd::ref
