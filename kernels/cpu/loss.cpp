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
#include <limits>

namespace unetd::UNETD_ISA {
namespace {

constexpr int64_t chunk_pixels = 4096;

template <class P>
const char* reject(const P& p) {
  if (p.dtype != DType::f32) return "f32 only";
  return p.logits.c <= block ? nullptr : "more than 16 classes";
}

// exp(-|z|) of the channels that exist, 1 elsewhere.
Vec exp_minus_abs(const Vec& z, const Mask& valid) {
  return exp_nonpositive(choose(valid, choose(z < 0, z, -z), Vec{}));
}

// Weights padded to a vector: 1 where none are given.
Vec weight_vector(const void* weights) {
  return weights == nullptr ? splat(1) : load(static_cast<const float*>(weights));
}

// What a focal loss multiplies -log(1 - q) and its gradient by.
struct Focus {
  float loss = 1, gradient = 1;
};
Focus focus(float gamma, float q, double loss) {
  if (gamma == 0) return {};
  const float power = std::pow(q, gamma);
  return {power, power * (1 + gamma * (q > 0 ? (1 - q) * static_cast<float>(loss) / q : 1))};
}

// exp(z - max) of a pixel's classes. The other classes' share is summed without the label's: a
// confident pixel's gradient and loss are far below the rounding of 1.
struct Exponentials {
  Vec e;
  float most, others;
};
Exponentials exponentials(const Vec& z, const Mask& valid, const Mask& hit) {
  const float most = horizontal_max(choose(valid, z, splat(z[0])));
  const Vec e = choose(valid, exp_nonpositive(choose(valid, z - most, Vec{})), Vec{});
  return {e, most, horizontal_sum(choose(hit, Vec{}, e))};
}

int64_t chunks_of(const Shape& s) { return (s.pixels() + chunk_pixels - 1) / chunk_pixels; }

// --- means over pixels ---------------------------------------------------------------------------

// What these losses share: chunks of pixels, the normaliser, the sum. `Pixel` computes one pixel.
template <class P, class Pixel>
struct LossKernel final : Kernel<P> {
  explicit LossKernel(const P& p) : p_(p) {}
  size_t workspace() const override {
    return static_cast<size_t>(chunks_of(p_.logits)) * sizeof(double);
  }
  void run(const typename P::Buffers& b, void* workspace, Stream&) const override {
    double* partial = static_cast<double*>(workspace);
    const Pixel pixel(p_, b);
    const double total = sum_chunks(partial, [&](int64_t begin, int64_t end) {
      double sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += pixel.weight(b.labels[i]);
      return sum;
    });
    const double scale = total > 0 ? p_.factor / total : 0;
    const float* logits = static_cast<const float*>(b.logits);
    float* dlogits = static_cast<float*>(b.dlogits);
    const double loss = sum_chunks(partial, [&](int64_t begin, int64_t end) {
      double sum = 0;
      for (int64_t i = begin; i < end; ++i) {
        Vec gradient = {};
        if (b.labels[i] < pixel.classes()) {
          sum += pixel.evaluate(load(logits + i * block), b.labels[i], static_cast<float>(scale),
                                gradient);
        }
        store(dlogits + i * block, gradient);
      }
      return sum;
    });
    *static_cast<float*>(b.loss) = static_cast<float>(scale * loss);
  }

 private:
  template <class F>
  double sum_chunks(double* partial, F&& f) const {
    parallel_chunks(p_.logits.pixels(), chunk_pixels, [&](int64_t begin, int64_t end) {
      partial[begin / chunk_pixels] = f(begin, end);
    });
    double sum = 0;
    for (int64_t i = 0; i < chunks_of(p_.logits); ++i) sum += partial[i];
    return sum;
  }

  P p_;
};

struct CrossEntropyPixel {
  Vec weights;
  int64_t c;
  float gamma, smoothing;
  Vec shares;  // what smoothing gives each class of a target, with its weight
  float all_shares = 0;
  CrossEntropyPixel(const CrossEntropy& p, const CrossEntropy::Buffers& b)
      : weights(weight_vector(b.weights)), c(p.logits.c), gamma(p.gamma), smoothing(p.smoothing) {
    const Mask valid = lanes < static_cast<int>(c);
    shares = choose(valid, weights * (smoothing / static_cast<float>(c)), Vec{});
    all_shares = horizontal_sum(shares);
  }
  int64_t classes() const { return c; }
  double weight(uint8_t label) const { return label < c ? weights[label] : 0; }
  double evaluate(const Vec& z, uint8_t label, float scale, Vec& gradient) const {
    const Mask valid = lanes < static_cast<int>(c), hit = lanes == static_cast<int>(label);
    const auto [e, most, others] = exponentials(z, valid, hit);
    const float w = weights[label];
    const double entropy =
        std::log1p(double{others} + (double{e[label]} - 1)) - (double{z[label]} - most);
    const float sum = others + e[label];
    if (smoothing == 0) {
      const Focus f = focus(gamma, others / sum, entropy);
      gradient = choose(hit, splat(-others), e) * (w * scale * f.gradient / sum);
      return double{w} * f.loss * entropy;
    }
    const float own = (1 - smoothing) * w;
    gradient =
        (choose(hit, splat(-others), e) * (own / sum) + e * (all_shares / sum) - shares) * scale;
    // -log p of class k is the label's and z[label] - z[k].
    const Vec further = choose(valid, shares * (z[label] - z), Vec{});
    return (double{own} + all_shares) * entropy + horizontal_sum(further);
  }
};

struct BcePixel {
  Vec pos_weight;
  int64_t c;
  float gamma;
  BcePixel(const BceWithLogits& p, const BceWithLogits::Buffers& b)
      : pos_weight(weight_vector(b.pos_weight)), c(p.logits.c), gamma(p.gamma) {}
  int64_t classes() const { return c == 1 ? 2 : c; }
  double weight(uint8_t label) const { return label < classes() ? static_cast<double>(c) : 0; }
  double evaluate(const Vec& z, uint8_t label, float scale, Vec& gradient) const {
    const Mask valid = lanes < static_cast<int>(c);
    const Mask hit = c == 1 ? Mask{} - static_cast<int>(label) : lanes == static_cast<int>(label);
    const Vec e = exp_minus_abs(z, valid);
    // sigmoid(z) where the class is absent, sigmoid(-z) where it is there: neither is a difference.
    const Vec sigmoid = choose((z < 0) ^ hit, e, splat(1)) / (1 + e);
    gradient = choose(valid, choose(hit, -pos_weight, splat(1)) * sigmoid * scale, Vec{});
    double loss = 0;
    for (int64_t k = 0; k < c; ++k) {
      const float away = hit[k] != 0 ? -z[k] : z[k];
      const double softplus =
          std::log1p(double{e[k]}) + std::max(0.0F, away);  // log(1 + exp(away))
      const Focus f = focus(gamma, sigmoid[k], softplus);
      gradient[k] *= f.gradient;
      loss += f.loss * (hit[k] != 0 ? double{pos_weight[k]} * softplus : softplus);
    }
    return loss;
  }
};

// --- overlap -------------------------------------------------------------------------------------

// Soft counts of the classes.
using Doubles = double __attribute__((vector_size(128)));
struct Overlaps {
  Doubles tp, fp, fn;
};
Doubles widened(const Vec& v) { return __builtin_convertvector(v, Doubles); }

// Derivatives of the loss by the probability of each class: where that is the target, and where it
// is not.
struct Slopes {
  Vec hit, miss;
};

// Probabilities, their complements where they are needed, and what both make of slopes. `hit` marks
// the target.
struct SoftmaxPixel {
  Mask valid;

  void add(const Vec& z, const Mask& hit, Overlaps& sums) const {
    const auto [e, most, others] = exponentials(z, valid, hit);
    const Vec own = choose(hit, e, Vec{});
    const float scale = 1 / (others + horizontal_sum(own));
    sums.tp += widened(own * scale);
    sums.fp += widened((e - own) * scale);
    sums.fn += widened(choose(hit, splat(others * scale), Vec{}));
  }
  // p * (slope - sum of p * slope), in slopes less that of the most probable class: its p, which
  // may be nearly 1, then takes no part in the sum.
  Vec gradient(const Vec& z, const Vec& slope) const {
    const auto [e, most, sum] = exponentials(z, valid, Mask{});
    const Vec p = e * (1 / sum);
    const Vec lowest = splat(-std::numeric_limits<float>::infinity());
    const Vec tilt = slope - horizontal_max(choose(valid & (z == most), slope, lowest));
    return choose(valid, p * (tilt - horizontal_sum(choose(valid, p * tilt, Vec{}))), Vec{});
  }
};

struct SigmoidPixel {
  Mask valid;

  // With e = exp(-|z|): the nearer of p and 1 - p is 1 / (1 + e), the other one e / (1 + e).
  void add(const Vec& z, const Mask& hit, Overlaps& sums) const {
    const Vec e = exp_minus_abs(z, valid);
    const Vec p = choose(valid, choose(z < 0, e, splat(1)) / (1 + e), Vec{});
    sums.tp += widened(choose(hit, p, Vec{}));
    sums.fp += widened(choose(hit, Vec{}, p));
    sums.fn += widened(choose(hit, choose(z < 0, splat(1), e) / (1 + e), Vec{}));
  }
  Vec gradient(const Vec& z, const Vec& slope) const {
    const Vec e = exp_minus_abs(z, valid);
    return choose(valid, slope * e / ((1 + e) * (1 + e)), Vec{});
  }
};

struct TverskyKernel final : Kernel<TverskyLoss> {
  explicit TverskyKernel(const TverskyLoss& p) : p_(p) {}
  size_t workspace() const override {
    return static_cast<size_t>(chunks_of(p_.logits)) * sizeof(Overlaps);
  }
  void run(const TverskyLoss::Buffers& b, void* workspace, Stream&) const override {
    auto* const partial = static_cast<Overlaps*>(workspace);
    const Mask valid = lanes < static_cast<int>(p_.logits.c);
    if (p_.activation == Activation::softmax) return evaluate(SoftmaxPixel{valid}, b, partial);
    evaluate(SigmoidPixel{valid}, b, partial);
  }

 private:
  template <class Pixel>
  void evaluate(const Pixel& pixel, const TverskyLoss::Buffers& b, Overlaps* partial) const {
    const float* logits = static_cast<const float*>(b.logits);
    float* dlogits = static_cast<float*>(b.dlogits);
    const int first = static_cast<int>(p_.first_label()),
              end_label = first + static_cast<int>(p_.logits.c);
    const auto target = [&](int64_t i) { return lanes == b.labels[i] - first; };
    parallel_chunks(p_.logits.pixels(), chunk_pixels, [&](int64_t begin, int64_t end) {
      Overlaps sums = {};
      for (int64_t i = begin; i < end; ++i) {
        if (b.labels[i] < end_label) pixel.add(load(logits + i * block), target(i), sums);
      }
      partial[begin / chunk_pixels] = sums;
    });
    const Slopes slopes = join(partial, weight_vector(b.weights), static_cast<float*>(b.loss));
    parallel_chunks(p_.logits.pixels(), chunk_pixels, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Vec gradient = {};
        if (b.labels[i] < end_label) {
          const Vec slope = choose(target(i), slopes.hit, slopes.miss);
          gradient = pixel.gradient(load(logits + i * block), slope);
        }
        store(dlogits + i * block, gradient);
      }
    });
  }
  // The chunks in order, and what follows from their sum.
  Slopes join(const Overlaps* partial, const Vec& weights, float* loss) const {
    Overlaps all = {};
    for (int64_t i = 0; i < chunks_of(p_.logits); ++i) {
      all.tp += partial[i].tp, all.fp += partial[i].fp, all.fn += partial[i].fn;
    }
    double total = 0, lost = 0;
    Slopes slopes = {};
    for (int64_t k = 0; k < p_.logits.c; ++k) {
      const double tp = all.tp[k], fp = all.fp[k], fn = all.fn[k], weight = weights[k];
      if (tp + fn == 0) continue;
      const double wrong = p_.alpha * fp + p_.beta * fn, whole = tp + wrong + p_.smooth;
      total += weight;
      lost += weight * wrong / whole;
      const double scale = weight / (whole * whole);
      slopes.hit[k] =
          static_cast<float>(-scale * (p_.alpha * fp + p_.beta * (tp + fn + p_.smooth)));
      slopes.miss[k] = static_cast<float>(scale * p_.alpha * (tp + p_.smooth));
    }
    const double scale = total > 0 ? p_.factor / total : 0;
    *loss = static_cast<float>(scale * lost);
    return {slopes.hit * static_cast<float>(scale), slopes.miss * static_cast<float>(scale)};
  }

  TverskyLoss p_;
};

}  // namespace

void register_loss() {
  const auto cpu = DeviceType::cpu;
  add_kernel<CrossEntropy, LossKernel<CrossEntropy, CrossEntropyPixel>>(cpu, isa_name, reject);
  add_kernel<BceWithLogits, LossKernel<BceWithLogits, BcePixel>>(cpu, isa_name, reject);
  add_kernel<TverskyLoss, TverskyKernel>(cpu, isa_name, reject);
}

}  // namespace unetd::UNETD_ISA
