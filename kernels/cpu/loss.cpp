// Segmentation losses with their gradients. Up to 16 classes are one vector a pixel; sums are kept
// in double per chunk of pixels and added in order.
#include "engine/op/loss.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/lanes.h"

#include <algorithm>
#include <cmath>

namespace unetd::UNETD_ISA {
namespace {

constexpr int64_t chunk_pixels = 4096;

template <class P>
const char* reject(const P& p) {
  if (p.dtype != DType::f32) return "f32 only";
  return p.logits.c <= block ? nullptr : "more than 16 classes";
}

// Weights padded to a vector: 1 where none are given.
Vec weight_vector(const void* weights) {
  return weights == nullptr ? splat(1) : load(static_cast<const float*>(weights));
}

// What the two losses share: chunks of pixels, the normaliser, the sum. `Pixel` computes one pixel.
template <class P, class Pixel>
struct LossKernel final : Kernel<P> {
  explicit LossKernel(const P& p) : p_(p) {}
  size_t workspace() const override { return static_cast<size_t>(chunks()) * sizeof(double); }
  void run(const typename P::Buffers& b, void* workspace, Stream&) const override {
    double* partial = static_cast<double*>(workspace);
    const Pixel pixel(p_, b);
    const double total = sum_chunks(partial, [&](int64_t begin, int64_t end) {
      double sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += pixel.weight(b.labels[i]);
      return sum;
    });
    const float scale = total > 0 ? static_cast<float>(1 / total) : 0.0F;
    const float* logits = static_cast<const float*>(b.logits);
    float* dlogits = static_cast<float*>(b.dlogits);
    const double loss = sum_chunks(partial, [&](int64_t begin, int64_t end) {
      double sum = 0;
      for (int64_t i = begin; i < end; ++i) {
        Vec gradient = {};
        if (b.labels[i] < pixel.classes()) {
          sum += pixel.evaluate(load(logits + i * block), b.labels[i], scale, gradient);
        }
        store(dlogits + i * block, gradient);
      }
      return sum;
    });
    *static_cast<float*>(b.loss) = static_cast<float>(total > 0 ? loss / total : 0);
  }

 private:
  int64_t chunks() const { return (p_.logits.pixels() + chunk_pixels - 1) / chunk_pixels; }
  template <class F>
  double sum_chunks(double* partial, F&& f) const {
    parallel_chunks(p_.logits.pixels(), chunk_pixels, [&](int64_t begin, int64_t end) {
      partial[begin / chunk_pixels] = f(begin, end);
    });
    double sum = 0;
    for (int64_t i = 0; i < chunks(); ++i) sum += partial[i];
    return sum;
  }

  P p_;
};

struct CrossEntropyPixel {
  Vec weights;
  int64_t c;
  CrossEntropyPixel(const CrossEntropy& p, const CrossEntropy::Buffers& b)
      : weights(weight_vector(b.weights)), c(p.logits.c) {}
  int64_t classes() const { return c; }
  double weight(uint8_t label) const { return label < c ? weights[label] : 0; }
  double evaluate(const Vec& z, uint8_t label, float scale, Vec& gradient) const {
    const Mask valid = lanes < static_cast<int>(c), hit = lanes == static_cast<int>(label);
    const float most = horizontal_max(choose(valid, z, splat(z[0])));
    const Vec e = choose(valid, exp_nonpositive(choose(valid, z - most, Vec{})), Vec{});
    // The other classes' share, summed without the label's: a confident pixel's gradient and loss
    // are far below the rounding of 1.
    const float others = horizontal_sum(choose(hit, Vec{}, e)), w = weights[label];
    gradient = choose(hit, splat(-others), e) * (w * scale / (others + e[label]));
    return double{w} *
           (std::log1p(double{others} + (double{e[label]} - 1)) - (double{z[label]} - most));
  }
};

struct BcePixel {
  Vec pos_weight;
  int64_t c;
  BcePixel(const BceWithLogits& p, const BceWithLogits::Buffers& b)
      : pos_weight(weight_vector(b.pos_weight)), c(p.logits.c) {}
  int64_t classes() const { return c == 1 ? 2 : c; }
  double weight(uint8_t label) const { return label < classes() ? static_cast<double>(c) : 0; }
  double evaluate(const Vec& z, uint8_t label, float scale, Vec& gradient) const {
    const Mask valid = lanes < static_cast<int>(c);
    const Mask hit = c == 1 ? Mask{} - static_cast<int>(label) : lanes == static_cast<int>(label);
    const Vec e = exp_nonpositive(choose(valid, choose(z < 0, z, -z), Vec{}));  // exp(-|z|)
    // sigmoid(z) where the class is absent, sigmoid(-z) where it is there: neither is a difference.
    const Vec sigmoid = choose((z < 0) ^ hit, e, splat(1)) / (1 + e);
    gradient = choose(valid, choose(hit, -pos_weight, splat(1)) * sigmoid * scale, Vec{});
    double loss = 0;
    for (int64_t k = 0; k < c; ++k) {
      const float away = hit[k] != 0 ? -z[k] : z[k];
      const double softplus =
          std::log1p(double{e[k]}) + std::max(0.0F, away);  // log(1 + exp(away))
      loss += hit[k] != 0 ? double{pos_weight[k]} * softplus : softplus;
    }
    return loss;
  }
};

}  // namespace

void register_loss() {
  const auto cpu = DeviceType::cpu;
  add_kernel<CrossEntropy, LossKernel<CrossEntropy, CrossEntropyPixel>>(cpu, isa_name, reject);
  add_kernel<BceWithLogits, LossKernel<BceWithLogits, BcePixel>>(cpu, isa_name, reject);
}

}  // namespace unetd::UNETD_ISA
