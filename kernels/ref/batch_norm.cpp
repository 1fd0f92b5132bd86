#include "engine/op/batch_norm.h"

#include "kernels/ref/ref.h"

#include <cmath>

namespace unetd::ref {
namespace {

Shape vector_of(const Shape& s) { return {1, 1, 1, s.c}; }

// visit(n, h, w) for every pixel.
template <class F>
void for_each_pixel(const Shape& s, F&& visit) {
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t h = 0; h < s.h; ++h) {
      for (int64_t w = 0; w < s.w; ++w) visit(n, h, w);
    }
  }
}

void training(const BatchNorm& p, const BatchNorm::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape& s = p.shape;
    const Shape v = vector_of(s);
    const Features<const T> x(b.x, s), gamma(b.gamma, v), beta(b.beta, v);
    const auto y = cleared<Features<T>>(b.y, s);
    const auto mean = cleared<Features<T>>(b.mean, v), rstd = cleared<Features<T>>(b.rstd, v);
    const Features<T> running_mean(b.running_mean, v), running_var(b.running_var, v);
    parallel_for(s.c, [&](int64_t c) {
      const auto count = static_cast<double>(s.pixels());
      double sum = 0, squares = 0;
      for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) { sum += x(n, h, w, c); });
      const double m = sum / count;
      for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) {
        const double d = x(n, h, w, c) - m;
        squares += d * d;
      });
      const double r = 1 / std::sqrt(squares / count + p.eps);
      for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) {
        const double value = gamma(c) * (x(n, h, w, c) - m) * r + beta(c);
        y(n, h, w, c) = static_cast<T>(p.relu && value < 0 ? 0 : value);
      });
      mean(c) = static_cast<T>(m);
      rstd(c) = static_cast<T>(r);
      const double momentum = p.momentum, unbiased = squares / std::max(count - 1, 1.0);
      running_mean(c) = static_cast<T>((1 - momentum) * running_mean(c) + momentum * m);
      running_var(c) = static_cast<T>((1 - momentum) * running_var(c) + momentum * unbiased);
    });
  });
}

void grad(const BatchNormGrad& p, const BatchNormGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape& s = p.shape;
    const Shape v = vector_of(s);
    const Features<const T> x(b.x, s), dy(b.dy, s), gamma(b.gamma, v), beta(b.beta, v);
    const Features<const T> mean(b.mean, v), rstd(b.rstd, v);
    const auto dx = cleared<Features<T>>(b.dx, s);
    const auto dgamma = cleared<Features<T>>(b.dgamma, v), dbeta = cleared<Features<T>>(b.dbeta, v);
    parallel_for(s.c, [&](int64_t c) {
      const double m = mean(c), r = rstd(c), scale = gamma(c), shift = beta(c);
      // The normalised input and the gradient behind the ReLU.
      const auto normalised = [&](int64_t n, int64_t h, int64_t w) {
        return (x(n, h, w, c) - m) * r;
      };
      const auto masked = [&](int64_t n, int64_t h, int64_t w) {
        const bool cut = p.relu && scale * normalised(n, h, w) + shift <= 0;
        return cut ? 0.0 : double{dy(n, h, w, c)};
      };
      double sum = 0, product = 0;
      for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) {
        const double g = masked(n, h, w);
        sum += g;
        product += g * normalised(n, h, w);
      });
      const auto count = static_cast<double>(s.pixels());
      for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) {
        const double centred =
            masked(n, h, w) - sum / count - normalised(n, h, w) * product / count;
        dx(n, h, w, c) = static_cast<T>(scale * r * centred);
      });
      dgamma(c) = static_cast<T>(product);
      dbeta(c) = static_cast<T>(sum);
    });
  });
}

void inference(const BatchNormInference& p, const BatchNormInference::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape& s = p.shape;
    const Shape v = vector_of(s);
    const Features<const T> x(b.x, s), gamma(b.gamma, v), beta(b.beta, v);
    const Features<const T> mean(b.mean, v), var(b.var, v);
    const auto y = cleared<Features<T>>(b.y, s);
    parallel_for(s.c, [&](int64_t c) {
      const double scale = gamma(c) / std::sqrt(double{var(c)} + p.eps);
      for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) {
        const double value = scale * (double{x(n, h, w, c)} - mean(c)) + beta(c);
        y(n, h, w, c) = static_cast<T>(p.relu && value < 0 ? 0 : value);
      });
    });
  });
}

}  // namespace

void register_batch_norm() {
  add<training, BatchNorm>();
  add<grad, BatchNormGrad>();
  add<inference, BatchNormInference>();
}

}  // namespace unetd::ref
