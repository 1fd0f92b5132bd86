#include "engine/op/optimizer.h"

#include "kernels/ref/ref.h"

#include <cmath>

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

void adamw(const AdamW& p, const AdamW::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const OptimizerScalars& at = *b.scalars;
    const double rate = at.learning_rate, beta1 = p.beta1, beta2 = p.beta2;
    double clip = 1;
    if (p.max_norm > 0) clip = std::min(1.0, p.max_norm / (*static_cast<const T*>(b.norm) + 1e-6));
    const T* grad = static_cast<const T*>(b.grad);
    T *param = static_cast<T*>(b.param), *m = static_cast<T*>(b.m), *v = static_cast<T*>(b.v);
    parallel_for(p.count, [&](int64_t i) {
      const double g = grad[i] * clip;
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
  add<adamw, AdamW>();
  add<ema, Ema>();
}

}  // namespace unetd::ref
