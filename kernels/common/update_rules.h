// One element's step of each optimiser (engine/op/optimizer.h) in f32, which kernels on CPUs and
// GPUs share; the reference has its own. A rule is made from the problem and the step's scalars,
// and says how many states an element has.
#pragma once

#include "engine/base/host_device.h"
#include "engine/op/optimizer.h"

#include <cmath>

namespace unetd {

template <bool amsgrad>
struct AdamRule {
  static constexpr int states = amsgrad ? 3 : 2;
  float beta1, beta2, eps, kept, coupled_decay, rate, inverse_root;

  UNETD_HOST_DEVICE AdamRule(const AdamW& p, const OptimizerScalars& s)
      : beta1(s.momentum),
        beta2(p.beta2),
        eps(p.eps),
        kept(p.coupled ? 1 : 1 - s.learning_rate * p.weight_decay),
        coupled_decay(p.coupled ? p.weight_decay : 0),
        rate(s.learning_rate / s.bias_correction1),
        inverse_root(1 / s.bias_correction2_sqrt) {}

  UNETD_HOST_DEVICE void operator()(float grad, float& param, float& m, float& v,
                                    float& largest) const {
    const float g = grad + coupled_decay * param;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    if constexpr (amsgrad) largest = largest > v ? largest : v;
    const float root = sqrtf(amsgrad ? largest : v) * inverse_root + eps;
    param = param * kept - rate * m / root;
  }
};

template <bool momentous>
struct SgdRule {
  static constexpr int states = momentous ? 1 : 0;
  float momentum, weight_decay, rate;
  bool nesterov;

  UNETD_HOST_DEVICE SgdRule(const Sgd& p, const OptimizerScalars& s)
      : momentum(s.momentum),
        weight_decay(p.weight_decay),
        rate(s.learning_rate),
        nesterov(p.nesterov) {}

  UNETD_HOST_DEVICE void operator()(float grad, float& param, float& velocity, float&,
                                    float&) const {
    const float g = grad + weight_decay * param;
    float step = g;
    if constexpr (momentous) {
      velocity = momentum * velocity + g;
      step = nesterov ? g + momentum * velocity : velocity;
    }
    param -= rate * step;
  }
};

template <bool momentous>
struct RmsPropRule {
  static constexpr int states = momentous ? 2 : 1;
  float alpha, eps, momentum, weight_decay, rate;

  UNETD_HOST_DEVICE RmsPropRule(const RmsProp& p, const OptimizerScalars& s)
      : alpha(p.alpha),
        eps(p.eps),
        momentum(s.momentum),
        weight_decay(p.weight_decay),
        rate(s.learning_rate) {}

  UNETD_HOST_DEVICE void operator()(float grad, float& param, float& v, float& velocity,
                                    float&) const {
    const float g = grad + weight_decay * param;
    v = alpha * v + (1 - alpha) * g * g;
    float step = g / (sqrtf(v) + eps);
    if constexpr (momentous) velocity = step = momentum * velocity + step;
    param -= rate * step;
  }
};

// Calls f with the rule type of a problem, as f.template operator()<Rule>().
template <class F>
void with_rule(const AdamW& p, F&& f) {
  return p.amsgrad ? f.template operator()<AdamRule<true>>()
                   : f.template operator()<AdamRule<false>>();
}
template <class F>
void with_rule(const Sgd& p, F&& f) {
  return p.momentous ? f.template operator()<SgdRule<true>>()
                     : f.template operator()<SgdRule<false>>();
}
template <class F>
void with_rule(const RmsProp& p, F&& f) {
  return p.momentous ? f.template operator()<RmsPropRule<true>>()
                     : f.template operator()<RmsPropRule<false>>();
}

}  // namespace unetd
