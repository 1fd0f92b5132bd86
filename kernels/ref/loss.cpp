#include "engine/op/loss.h"

#include "kernels/ref/ref.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace unetd::ref {
namespace {

// The sum of term(n, h, w, label) over the pixels with a label below `classes`: per row, then over
// the rows in order, so that the number of threads does not show.
template <class F>
double sum_valid(const Shape& s, const uint8_t* labels, int64_t classes, F&& term) {
  std::vector<double> rows(static_cast<size_t>(s.n * s.h));
  for_each_row(s, [&](int64_t n, int64_t h) {
    double& sum = rows[static_cast<size_t>(n * s.h + h)];
    for (int64_t w = 0; w < s.w; ++w) {
      const uint8_t label = labels[(n * s.h + h) * s.w + w];
      if (label < classes) sum += term(n, h, w, label);
    }
  });
  return std::accumulate(rows.begin(), rows.end(), 0.0);
}

void cross_entropy(const CrossEntropy& p, const CrossEntropy::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape& s = p.logits;
    const Features<const T> logits(b.logits, s), weights(b.weights, {1, 1, 1, s.c});
    const auto dlogits = cleared<Features<T>>(b.dlogits, s);
    const auto weight = [&](uint8_t label) { return p.weighted ? double{weights(label)} : 1.0; };
    const double total = sum_valid(
        s, b.labels, s.c, [&](int64_t, int64_t, int64_t, uint8_t label) { return weight(label); });
    const double scale = total > 0 ? 1 / total : 0;  // nothing valid: no loss, no gradient
    const double loss =
        sum_valid(s, b.labels, s.c, [&](int64_t n, int64_t h, int64_t w, uint8_t label) {
          double top = -std::numeric_limits<double>::infinity(), sum = 0;
          for (int64_t c = 0; c < s.c; ++c) top = std::max(top, double{logits(n, h, w, c)});
          for (int64_t c = 0; c < s.c; ++c) sum += std::exp(logits(n, h, w, c) - top);
          for (int64_t c = 0; c < s.c; ++c) {
            const double probability = std::exp(logits(n, h, w, c) - top) / sum;
            const double target = c == label ? 1 : 0;
            dlogits(n, h, w, c) = static_cast<T>(scale * weight(label) * (probability - target));
          }
          return weight(label) * (std::log(sum) + top - logits(n, h, w, label));
        });
    *static_cast<T*>(b.loss) = static_cast<T>(scale * loss);
  });
}

void bce_with_logits(const BceWithLogits& p, const BceWithLogits::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape& s = p.logits;
    const int64_t classes = std::max<int64_t>(s.c, 2);  // one channel tells two classes apart
    const Features<const T> logits(b.logits, s), pos_weight(b.pos_weight, {1, 1, 1, s.c});
    const auto dlogits = cleared<Features<T>>(b.dlogits, s);
    const double valid =
        sum_valid(s, b.labels, classes, [](int64_t, int64_t, int64_t, uint8_t) { return 1.0; });
    const double scale = valid > 0 ? 1 / (valid * static_cast<double>(s.c)) : 0;
    const double loss =
        sum_valid(s, b.labels, classes, [&](int64_t n, int64_t h, int64_t w, uint8_t label) {
          double sum = 0;
          for (int64_t c = 0; c < s.c; ++c) {
            const double z = logits(n, h, w, c), p_c = p.weighted ? pos_weight(c) : 1;
            const double t = s.c == 1 ? label : (label == c ? 1 : 0);
            const double factor = 1 + (p_c - 1) * t;
            // log(1 + exp(-z)) without overflow for z << 0.
            const double softplus = std::log1p(std::exp(-std::abs(z))) + std::max(-z, 0.0);
            sum += (1 - t) * z + factor * softplus;
            const double slope = (1 - t) - factor / (1 + std::exp(z));
            dlogits(n, h, w, c) = static_cast<T>(scale * slope);
          }
          return sum;
        });
    *static_cast<T*>(b.loss) = static_cast<T>(scale * loss);
  });
}

}  // namespace

void register_loss() {
  add<cross_entropy, CrossEntropy>();
  add<bce_with_logits, BceWithLogits>();
}

}  // namespace unetd::ref
