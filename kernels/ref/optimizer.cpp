#include "engine/op/optimizer.h"

#include "kernels/ref/ref.h"

#include <cmath>
#include <limits>

namespace unetd::ref {
namespace {

void global_norm(const GlobalNorm& p, const GlobalNorm::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const T* x = static_cast<const T*>(b.x);
    double sum = 0;
    for (int64_t i = 0; i < p.count; ++i) sum += double{x[i]} * x[i];
    *static_cast<T*>(b.norm) = static_cast<T>(std::sqrt(sum));
  });
}

void scale_gradient(const ScaleGradient& p, const ScaleGradient::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const T* x = static_cast<const T*>(b.x);
    T* y = static_cast<T*>(b.y);
    parallel_for(storage_count(layout_of(DeviceType::cpu), Kind::features, p.shape),
                 [&](int64_t i) { y[i] = static_cast<T>(double{x[i]} * b.scale->scale); });
  });
}

void gradient_factor(const GradientFactor& p, const GradientFactor::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    T &factor = *static_cast<T*>(b.factor), &norm = *static_cast<T*>(b.norm);
    const double scale = p.scaled ? b.scale->scale : 1;
    const double unscaled = norm / scale;
    const bool good = std::isfinite(unscaled);
    const double clip = p.max_norm > 0 ? std::min(1.0, p.max_norm / (unscaled + 1e-6)) : 1;
    factor = good ? static_cast<T>(clip / scale) : std::numeric_limits<T>::quiet_NaN();
    norm = static_cast<T>(unscaled);
    if (!p.scaled) return;
    const float steps = good ? b.scale->good_steps + 1 : 0;
    const bool grows = steps >= p.growth_interval;
    if (grows) b.scale->scale = std::min(2 * b.scale->scale, largest_loss_scale);
    if (!good) b.scale->scale = std::max(b.scale->scale / 2, smallest_loss_scale);
    b.scale->good_steps = grows ? 0 : steps;
  });
}

void adamw(const AdamW& p, const AdamW::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const OptimizerScalars& at = *b.scalars;
    const double rate = at.learning_rate, beta1 = p.beta1, beta2 = p.beta2;
    const double factor = *static_cast<const T*>(b.factor);
    if (std::isnan(factor)) return;
    const T* grad = static_cast<const T*>(b.grad);
    T *param = static_cast<T*>(b.param), *m = static_cast<T*>(b.m), *v = static_cast<T*>(b.v);
    parallel_for(p.count, [&](int64_t i) {
      const double g = grad[i] * factor;
      const double first = beta1 * m[i] + (1 - beta1) * g;
      const double second = beta2 * v[i] + (1 - beta2) * g * g;
      const double decayed = param[i] * (1 - rate * p.weight_decay);
      const double root = std::sqrt(second) / at.bias_correction2_sqrt + p.eps;
      m[i] = static_cast<T>(first);
      v[i] = static_cast<T>(second);
      param[i] = static_cast<T>(decayed - rate / at.bias_correction1 * first / root);
    });
  });
}

void ema(const Ema& p, const Ema::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const double d = b.scalars->ema_decay;
    const T* param = static_cast<const T*>(b.param);
    T* average = static_cast<T*>(b.average);
    parallel_for(p.count, [&](int64_t i) {
      average[i] = static_cast<T>(d * average[i] + (1 - d) * param[i]);
    });
  });
}

}  // namespace

void register_optimizer() {
  add<global_norm, GlobalNorm>();
  add<scale_gradient, ScaleGradient>();
  add<gradient_factor, GradientFactor>();
  add<adamw, AdamW>();
  add<ema, Ema>();
}

}  // namespace unetd::ref
