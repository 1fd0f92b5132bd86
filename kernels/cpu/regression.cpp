// Sums of errors and the losses of regression, memory bound: a pixel has a block of its own, of
// which one lane is read and all are written. Sums are kept per chunk of an image's pixels and
// added in order.
#include "engine/op/regression.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/common/regression_rules.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#include <algorithm>
#include <numeric>

namespace unetd::UNETD_ISA {
namespace {

constexpr int64_t chunk_pixels = 4096;
int64_t chunks_of_image(const Shape& s) { return (s.h * s.w + chunk_pixels - 1) / chunk_pixels; }

// body(n, chunk, begin, end) for each chunk of each image: `chunk` counts those of all, [begin,
// end) are the pixels' places among those of all.
template <class F>
void for_each_chunk(const Shape& s, F&& body) {
  const int64_t plane = s.h * s.w, chunks = chunks_of_image(s);
  parallel_for(s.n * chunks, [&](int64_t chunk) {
    const int64_t n = chunk / chunks, begin = n * plane + chunk % chunks * chunk_pixels;
    body(n, chunk, begin, std::min(begin + chunk_pixels, (n + 1) * plane));
  });
}

struct ErrorSumsKernel final : Kernel<ErrorSums> {
  explicit ErrorSumsKernel(const ErrorSums& p) : p_(p) {}
  size_t workspace() const override {
    return static_cast<size_t>(p_.values.n * chunks_of_image(p_.values)) * sizeof(ImageErrors);
  }
  void run(const ErrorSums::Buffers& b, void* workspace, Stream&) const override {
    auto* const parts = static_cast<ImageErrors*>(workspace);
    const auto* const values = static_cast<const float*>(b.values);
    for_each_chunk(p_.values, [&](int64_t, int64_t chunk, int64_t begin, int64_t end) {
      ImageErrors sum;
      for (int64_t i = begin; i < end; ++i) sum = sum + errors_of(values[i * block], b.targets[i]);
      parts[chunk] = sum;
    });
    const int64_t chunks = chunks_of_image(p_.values);
    for (int64_t n = 0; n < p_.values.n; ++n) {
      b.sums[n] = std::accumulate(parts + n * chunks, parts + (n + 1) * chunks, ImageErrors{});
    }
  }

 private:
  ErrorSums p_;
};

template <class Rule>
void evaluate(const RegressionLoss& p, const RegressionLoss::Buffers& b) {
  LossShare all{};
  for (int64_t n = 0; n < p.values.n; ++n) {
    const LossShare share = Rule::share_of(b.sums[n]);
    all.loss += share.loss;
    all.divisor += share.divisor;
  }
  const double scale = all.divisor > 0 ? p.factor / all.divisor : 0;
  *static_cast<float*>(b.loss) = static_cast<float>(scale * all.loss);
  const auto* const values = static_cast<const float*>(b.values);
  auto* const dvalues = static_cast<float*>(b.dvalues);
  for_each_chunk(p.values, [&](int64_t n, int64_t, int64_t begin, int64_t end) {
    const float slope = Rule::slope_of(b.sums[n], scale);
    for (int64_t i = begin; i < end; ++i) {
      Vec gradient = {};
      gradient[0] = Rule::gradient(values[i * block], b.targets[i], slope);
      store(dvalues + i * block, gradient);
    }
  });
}

void regression_loss(const RegressionLoss& p, const RegressionLoss::Buffers& b) {
  using Norm = RegressionLoss::Norm;
  switch (p.norm) {
    case Norm::squared:
      return evaluate<RegressionRule<Norm::squared>>(p, b);
    case Norm::absolute:
      return evaluate<RegressionRule<Norm::absolute>>(p, b);
    case Norm::mass:
      return evaluate<RegressionRule<Norm::mass>>(p, b);
  }
}

}  // namespace

void register_regression() {
  add_kernel<ErrorSums, ErrorSumsKernel>(DeviceType::cpu, isa_name, f32_only);
  add_function<regression_loss, RegressionLoss>(DeviceType::cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
