// The optimiser on flat buffers, memory bound: AdamW reads 4 arrays and writes 3 in one pass.
#include "engine/op/optimizer.h"

#include "engine/base/threads.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#include <algorithm>
#include <cmath>

namespace unetd::UNETD_ISA {
namespace {

constexpr int64_t grain = int64_t{1} << 14;  // elements a task handles

struct Norm final : Kernel<GlobalNorm> {
  explicit Norm(const GlobalNorm& p) : p_(p) {}
  size_t workspace() const override {
    return static_cast<size_t>((p_.count + grain - 1) / grain) * sizeof(double);
  }
  void run(const GlobalNorm::Buffers& b, void* workspace, Stream&) const override {
    const float* x = static_cast<const float*>(b.x);
    double* partial = static_cast<double*>(workspace);
    parallel_chunks(p_.count, grain, [&](int64_t begin, int64_t end) {
      double sums[8] = {};  // independent chains: one would wait for itself
      int64_t i = begin;
      for (; i + 8 <= end; i += 8) {
        for (int64_t k = 0; k < 8; ++k) sums[k] += double{x[i + k]} * x[i + k];
      }
      for (; i < end; ++i) sums[0] += double{x[i]} * x[i];
      partial[begin / grain] =
          ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    });
    double total = 0;
    for (int64_t i = 0; i < (p_.count + grain - 1) / grain; ++i) total += partial[i];
    *static_cast<float*>(b.norm) = static_cast<float>(std::sqrt(total));
  }

 private:
  GlobalNorm p_;
};

void adamw(const AdamW& p, const AdamW::Buffers& b) {
  const float factor = *static_cast<const float*>(b.factor);
  if (std::isnan(factor)) return;
  const OptimizerScalars s = *b.scalars;
  const float decay = 1 - s.learning_rate * p.weight_decay;
  const float rate = s.learning_rate / s.bias_correction1, inverse = 1 / s.bias_correction2_sqrt;
  const float beta1 = p.beta1, beta2 = p.beta2, eps = p.eps;
  const float* __restrict grad = static_cast<const float*>(b.grad);
  float* __restrict param = static_cast<float*>(b.param);
  float* __restrict m = static_cast<float*>(b.m);
  float* __restrict v = static_cast<float*>(b.v);
  parallel_chunks(p.count, grain, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float g = grad[i] * factor;
      const float mi = beta1 * m[i] + (1 - beta1) * g, vi = beta2 * v[i] + (1 - beta2) * g * g;
      m[i] = mi;
      v[i] = vi;
      param[i] = param[i] * decay - rate * mi / (std::sqrt(vi) * inverse + eps);
    }
  });
}

void ema(const Ema& p, const Ema::Buffers& b) {
  const float d = b.scalars->ema_decay;
  const float* __restrict param = static_cast<const float*>(b.param);
  float* __restrict average = static_cast<float*>(b.average);
  parallel_chunks(p.count, grain, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) average[i] = d * average[i] + (1 - d) * param[i];
  });
}

}  // namespace

void register_optimizer() {
  const auto cpu = DeviceType::cpu;
  add_kernel<GlobalNorm, Norm>(cpu, isa_name, f32_only);
  add_function<adamw, AdamW>(cpu, isa_name, f32_only);
  add_function<ema, Ema>(cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
