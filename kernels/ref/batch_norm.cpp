#include "engine/op/batch_norm.h"

#include "engine/op/batch_norm_pool.h"
#include "engine/op/conv2d_norm_grad.h"
#include "kernels/ref/statistics.h"

#include <array>

namespace unetd::ref {
namespace {

Shape vector_of(const Shape& s) { return {1, 1, 1, s.c}; }

void stats(const BatchNormStats& p, const BatchNormStats::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> x(b.x, p.shape);
    const Statistics<T> statistics(p.shape.c, b.mean, b.rstd, b.running_mean, b.running_var);
    parallel_for(p.shape.c, [&](int64_t c) { statistics.take(x, c, p.eps, p.momentum); });
  });
}

// x and its normalisation as all that follows the statistics sees them.
template <class T>
class Normalised {
 public:
  template <class Buffers>
  Normalised(const Shape& s, const Buffers& b)
      : x_(b.x, s),
        gamma_(b.gamma, vector_of(s)),
        beta_(b.beta, vector_of(s)),
        mean_(b.mean, vector_of(s)),
        rstd_(b.rstd, vector_of(s)) {}

  double xhat(int64_t n, int64_t h, int64_t w, int64_t c) const {
    return (double{x_(n, h, w, c)} - mean_(c)) * rstd_(c);
  }
  double y(int64_t n, int64_t h, int64_t w, int64_t c) const {
    return gamma_(c) * xhat(n, h, w, c) + beta_(c);
  }
  double scale(int64_t c) const { return double{gamma_(c)} * rstd_(c); }
  // Behind the ReLU, in window (i, j): the place of the maximum.
  int place_of_maximum(int64_t n, int64_t i, int64_t j, int64_t c) const {
    std::array<double, 4> window;
    for (int tap = 0; tap < 4; ++tap) {
      const double value = y(n, 2 * i + tap / 2, 2 * j + tap % 2, c);
      window[static_cast<size_t>(tap)] = value < 0 ? 0 : value;
    }
    return ref::place_of_maximum(window);
  }

 private:
  Features<const T> x_, gamma_, beta_, mean_, rstd_;
};

void apply(const BatchNormApply& p, const BatchNormApply::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Normalised<T> normalised(p.shape, b);
    const auto y = cleared<Features<T>>(b.y, p.shape);
    parallel_for(p.shape.c, [&](int64_t c) {
      for_each_pixel(p.shape, [&](int64_t n, int64_t h, int64_t w) {
        const double value = normalised.y(n, h, w, c);
        y(n, h, w, c) = static_cast<T>(p.relu && value < 0 ? 0 : value);
      });
    });
  });
}

void apply_pool(const BatchNormApplyPool& p, const BatchNormApplyPool::Buffers& b) {
  apply({p.shape, /*relu=*/true, p.dtype}, {b.x, b.gamma, b.beta, b.mean, b.rstd, b.y});
  with_type(p.dtype, [&]<class T>(T) {
    const Normalised<T> normalised(p.shape, b);
    const Features<const T> y(b.y, p.shape);
    const auto pooled = cleared<Features<T>>(b.pooled, p.pooled());
    parallel_for(p.shape.c, [&](int64_t c) {
      for_each_pixel(p.pooled(), [&](int64_t n, int64_t i, int64_t j) {
        const int tap = normalised.place_of_maximum(n, i, j, c);
        pooled(n, i, j, c) = y(n, 2 * i + tap / 2, 2 * j + tap % 2, c);
      });
    });
  });
}

// dx, dgamma and dbeta from dy(n, h, w, c), the gradient of y where the ReLU let it pass.
template <class T, class Buffers, class F>
void write_gradients(const Shape& s, const Buffers& b, F&& dy) {
  const Normalised<T> x(s, b);
  const auto dx = cleared<Features<T>>(b.dx, s);
  const auto dgamma = cleared<Features<T>>(b.dgamma, vector_of(s));
  const auto dbeta = cleared<Features<T>>(b.dbeta, vector_of(s));
  parallel_for(s.c, [&](int64_t c) {
    double sum = 0, product = 0;
    for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) {
      const double g = dy(n, h, w, c);
      sum += g;
      product += g * x.xhat(n, h, w, c);
    });
    const auto count = static_cast<double>(s.pixels());
    for_each_pixel(s, [&](int64_t n, int64_t h, int64_t w) {
      const double centred = dy(n, h, w, c) - sum / count - x.xhat(n, h, w, c) * product / count;
      dx(n, h, w, c) = static_cast<T>(x.scale(c) * centred);
    });
    dgamma(c) = static_cast<T>(product);
    dbeta(c) = static_cast<T>(sum);
  });
}

void grad(const BatchNormGrad& p, const BatchNormGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Normalised<T> normalised(p.shape, b);
    const Features<const T> dy(b.dy, p.shape);
    write_gradients<T>(p.shape, b, [&](int64_t n, int64_t h, int64_t w, int64_t c) {
      const bool cut = p.relu && normalised.y(n, h, w, c) <= 0;
      return cut ? 0.0 : double{dy(n, h, w, c)};
    });
  });
}

void pool_grad(const BatchNormPoolGrad& p, const BatchNormPoolGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape pooled = p.pooled();
    const Normalised<T> normalised(p.shape, b);
    const Features<const T> dy_skip(b.dy_skip, p.shape), dpooled(b.dpooled, pooled);
    write_gradients<T>(p.shape, b, [&](int64_t n, int64_t h, int64_t w, int64_t c) {
      if (normalised.y(n, h, w, c) <= 0) return 0.0;
      const int64_t i = h / 2, j = w / 2;
      const double skip = dy_skip(n, h, w, c);
      const bool has_window = i < pooled.h && j < pooled.w;
      if (!has_window || normalised.place_of_maximum(n, i, j, c) != h % 2 * 2 + w % 2) return skip;
      return skip + dpooled(n, i, j, c);
    });
  });
}

// The references of both parts, and the ReLU's cut in between.
class ConvNormGrad final : public Kernel<Conv2dNormGrad> {
 public:
  explicit ConvNormGrad(const Conv2dNormGrad& p)
      : p_(p), convolution_(reference(p.convolution())), norm_(reference(p.norm())) {}

  size_t workspace() const override {
    return std::max(convolution_->workspace(), norm_->workspace());
  }

  void run(const Conv2dNormGrad::Buffers& b, void* workspace, Stream& stream) const override {
    convolution_->run({b.dy, b.w, b.dz}, workspace, stream);
    with_type(p_.dtype, [&]<class T>(T) {
      const Normalised<T> normalised(p_.geometry.x, b);
      const Features<T> dz(b.dz, p_.geometry.x);
      parallel_for(p_.geometry.x.c, [&](int64_t c) {
        for_each_pixel(p_.geometry.x, [&](int64_t n, int64_t h, int64_t w) {
          if (normalised.y(n, h, w, c) <= 0) dz(n, h, w, c) = 0;
        });
      });
    });
    norm_->run({b.x, b.dz, b.gamma, b.beta, b.mean, b.rstd, b.dx, b.dgamma, b.dbeta}, workspace,
               stream);
  }

 private:
  template <class P>
  static std::unique_ptr<Kernel<P>> reference(const P& p) {
    return select(p, DeviceType::cpu, KernelChoice("*=ref")).make(p);
  }

  Conv2dNormGrad p_;
  std::unique_ptr<Kernel<Conv2dDataGrad>> convolution_;
  std::unique_ptr<Kernel<BatchNormGrad>> norm_;
};

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
  add<stats, BatchNormStats>();
  add<apply, BatchNormApply>();
  add<apply_pool, BatchNormApplyPool>();
  add<grad, BatchNormGrad>();
  add<pool_grad, BatchNormPoolGrad>();
  add_kernel<Conv2dNormGrad, ConvNormGrad>(DeviceType::cpu, "ref",
                                           only_f32_and_f64<Conv2dNormGrad>);
  add<inference, BatchNormInference>();
}

}  // namespace unetd::ref
