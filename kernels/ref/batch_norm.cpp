#include "engine/op/batch_norm.h"

#include "kernels/ref/statistics.h"

namespace unetd::ref {
namespace {

Shape vector_of(const Shape& s) { return {1, 1, 1, s.c}; }

void training(const BatchNorm& p, const BatchNorm::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape& s = p.shape;
    const Shape v = vector_of(s);
    const Features<const T> x(b.x, s), gamma(b.gamma, v), beta(b.beta, v);
    const auto y = cleared<Features<T>>(b.y, s);
    const Statistics<T> statistics(s.c, b.mean, b.rstd, b.running_mean, b.running_var);
    parallel_for(s.c, [&](int64_t c) {
      const auto taken = statistics.take(x, c, p.eps, p.momentum);
      for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) {
        const double value = gamma(c) * (x(n, h, w, c) - taken.mean) * taken.rstd + beta(c);
        y(n, h, w, c) = static_cast<T>(p.relu && value < 0 ? 0 : value);
      });
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
