#include "engine/op/optimizer.h"

#include "kernels/ref/ref.h"

#include <algorithm>
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
    const bool good = std::isfinite(unscaled) && std::isfinite(*static_cast<const T*>(b.loss));
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

// Calls step(gradient, parameter, state) for each element, in f64; what it leaves in both is
// stored.
template <class P, class Step>
void update(const P& p, const UpdateBuffers& b, Step&& step) {
  with_type(p.dtype, [&]<class T>(T) {
    const double factor = *static_cast<const T*>(b.factor);
    if (std::isnan(factor)) return;
    const T* grad = static_cast<const T*>(b.grad);
    T* param = static_cast<T*>(b.param);
    parallel_for(p.count, [&](int64_t i) {
      double value = param[i], state[most_states] = {};
      const auto stored = [&](int k) { return static_cast<T*>(b.state[k]); };
      for (int k = 0; k < most_states; ++k)
        if (stored(k) != nullptr) state[k] = stored(k)[i];
      step(grad[i] * factor, value, state);
      param[i] = static_cast<T>(value);
      for (int k = 0; k < most_states; ++k)
        if (stored(k) != nullptr) stored(k)[i] = static_cast<T>(state[k]);
    });
  });
}

void adamw(const AdamW& p, const UpdateBuffers& b) {
  const OptimizerScalars& at = *b.scalars;
  const double rate = at.learning_rate, beta1 = at.momentum, beta2 = p.beta2,
               decay = p.weight_decay;
  update(p, b, [&](double g, double& param, double* state) {
    double &m = state[0], &v = state[1], &largest = state[2];
    if (p.coupled) {
      g += decay * param;
    } else {
      param *= 1 - rate * decay;
    }
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    largest = std::max(largest, v);
    const double root = std::sqrt(p.amsgrad ? largest : v) / at.bias_correction2_sqrt + p.eps;
    param -= rate / at.bias_correction1 * m / root;
  });
}

void sgd(const Sgd& p, const UpdateBuffers& b) {
  const double rate = b.scalars->learning_rate, decay = p.weight_decay;
  const double momentum = p.momentous ? b.scalars->momentum : 0;
  update(p, b, [&](double g, double& param, double* state) {
    g += decay * param;
    state[0] = momentum * state[0] + g;
    param -= rate * (p.nesterov ? g + momentum * state[0] : state[0]);
  });
}

void rmsprop(const RmsProp& p, const UpdateBuffers& b) {
  const double rate = b.scalars->learning_rate, alpha = p.alpha, decay = p.weight_decay;
  const double momentum = p.momentous ? b.scalars->momentum : 0;
  update(p, b, [&](double g, double& param, double* state) {
    g += decay * param;
    state[0] = alpha * state[0] + (1 - alpha) * g * g;
    state[1] = momentum * state[1] + g / (std::sqrt(state[0]) + p.eps);
    param -= rate * state[1];
  });
}

void ema(const Ema& p, const Ema::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const double d = b.scalars->ema_decay;
    const T* param = static_cast<const T*>(b.param);
    T* average = static_cast<T*>(b.average);
    parallel_for(p.count, [&](int64_t i) {
      const double kept = d == 0 ? 0 : d * average[i];
      average[i] = static_cast<T>(kept + (1 - d) * param[i]);
    });
  });
}

}  // namespace

void register_optimizer() {
  add<global_norm, GlobalNorm>();
  add<scale_gradient, ScaleGradient>();
  add<gradient_factor, GradientFactor>();
  add<adamw, AdamW>();
  add<sgd, Sgd>();
  add<rmsprop, RmsProp>();
  add<ema, Ema>();
}

}  // namespace unetd::ref
