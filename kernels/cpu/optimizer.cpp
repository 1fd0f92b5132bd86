// The optimisers on flat buffers, memory bound: AdamW reads 4 arrays and writes 3 in one pass.
#include "engine/op/optimizer.h"

#include "engine/base/threads.h"
#include "kernels/common/update_rules.h"
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

template <class P>
void update(const P& p, const UpdateBuffers& buffers) {
  const float factor = *static_cast<const float*>(buffers.factor);
  if (std::isnan(factor)) return;
  const float* __restrict grad = static_cast<const float*>(buffers.grad);
  float* __restrict param = static_cast<float*>(buffers.param);
  const auto state = [&](int k) { return static_cast<float*>(buffers.state[k]); };
  float *const first = state(0), *const second = state(1), *const third = state(2);
  with_rule(p, [&]<class Rule>() {
    const Rule rule(p, *buffers.scalars);
    parallel_chunks(p.count, grain, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        float value = param[i], a = 0, b = 0, c = 0;
        if constexpr (Rule::states > 0) a = first[i];
        if constexpr (Rule::states > 1) b = second[i];
        if constexpr (Rule::states > 2) c = third[i];
        rule(grad[i] * factor, value, a, b, c);
        param[i] = value;
        if constexpr (Rule::states > 0) first[i] = a;
        if constexpr (Rule::states > 1) second[i] = b;
        if constexpr (Rule::states > 2) third[i] = c;
      }
    });
  });
}

void ema(const Ema& p, const Ema::Buffers& b) {
  const float d = b.scalars->ema_decay;
  const float* __restrict param = static_cast<const float*>(b.param);
  float* __restrict average = static_cast<float*>(b.average);
  parallel_chunks(p.count, grain, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i)
      average[i] = (d == 0 ? 0 : d * average[i]) + (1 - d) * param[i];
  });
}

}  // namespace

void register_optimizer() {
  const auto cpu = DeviceType::cpu;
  add_kernel<GlobalNorm, Norm>(cpu, isa_name, f32_only);
  add_function<update<AdamW>, AdamW>(cpu, isa_name, f32_only);
  add_function<update<Sgd>, Sgd>(cpu, isa_name, f32_only);
  add_function<update<RmsProp>, RmsProp>(cpu, isa_name, f32_only);
  add_function<ema, Ema>(cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
