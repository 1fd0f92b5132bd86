#include "engine/op/loss.h"

#include "kernels/ref/ref.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace unetd::ref {
namespace {

// visit(n, h, w, label) for the pixels with a label below `classes`, rows in parallel.
template <class F>
void for_each_valid(const Shape& s, const uint8_t* labels, int64_t classes, F&& visit) {
  for_each_row(s, [&](int64_t n, int64_t h) {
    for (int64_t w = 0; w < s.w; ++w) {
      const uint8_t label = labels[(n * s.h + h) * s.w + w];
      if (label < classes) visit(n, h, w, label);
    }
  });
}

// The sum of term(n, h, w, label) over these: per row, then over the rows in order, so that the
// number of threads does not show.
template <class F>
double sum_valid(const Shape& s, const uint8_t* labels, int64_t classes, F&& term) {
  std::vector<double> rows(static_cast<size_t>(s.n * s.h));
  for_each_valid(s, labels, classes, [&](int64_t n, int64_t h, int64_t w, uint8_t label) {
    rows[static_cast<size_t>(n * s.h + h)] += term(n, h, w, label);
  });
  return std::accumulate(rows.begin(), rows.end(), 0.0);
}

// What a focal loss multiplies -log(1 - q) and its gradient by.
struct Focus {
  double loss = 1, gradient = 1;
};
Focus focus(double gamma, double q, double loss) {
  if (gamma == 0) return {};
  const double power = std::pow(q, gamma);
  return {power, power * (1 + gamma * (q > 0 ? (1 - q) * loss / q : 1))};
}

void cross_entropy(const CrossEntropy& p, const CrossEntropy::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape& s = p.logits;
    const Features<const T> logits(b.logits, s), weights(b.weights, {1, 1, 1, s.c});
    const auto dlogits = cleared<Features<T>>(b.dlogits, s);
    const auto weight = [&](uint8_t label) { return p.weighted ? double{weights(label)} : 1.0; };
    const double total = sum_valid(
        s, b.labels, s.c, [&](int64_t, int64_t, int64_t, uint8_t label) { return weight(label); });
    const double scale = total > 0 ? p.factor / total : 0;  // nothing valid: no loss, no gradient
    const double others =
        p.smoothing / static_cast<double>(s.c);  // what each class gets of a target
    double all_weights = 0;
    for (int64_t c = 0; c < s.c; ++c) all_weights += weight(static_cast<uint8_t>(c));
    const double loss =
        sum_valid(s, b.labels, s.c, [&](int64_t n, int64_t h, int64_t w, uint8_t label) {
          double top = -std::numeric_limits<double>::infinity(), sum = 0;
          for (int64_t c = 0; c < s.c; ++c) top = std::max(top, double{logits(n, h, w, c)});
          for (int64_t c = 0; c < s.c; ++c) sum += std::exp(logits(n, h, w, c) - top);
          const double at_label = logits(n, h, w, label) - top;
          const double entropy = std::log(sum) - at_label;
          const Focus f = focus(p.gamma, -std::expm1(-entropy), entropy);
          const double own = (1 - p.smoothing) * weight(label);
          double smoothed = 0;
          for (int64_t c = 0; c < s.c; ++c) {
            const double at = logits(n, h, w, c) - top, probability = std::exp(at) / sum;
            const double target = c == label ? 1 : 0,
                         share = others * weight(static_cast<uint8_t>(c));
            dlogits(n, h, w, c) =
                static_cast<T>(scale * (own * f.gradient * (probability - target) +
                                        others * all_weights * probability - share));
            smoothed += share * (std::log(sum) - at);
          }
          return own * f.loss * entropy + smoothed;
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
    const double scale = valid > 0 ? p.factor / (valid * static_cast<double>(s.c)) : 0;
    const double loss =
        sum_valid(s, b.labels, classes, [&](int64_t n, int64_t h, int64_t w, uint8_t label) {
          double sum = 0;
          for (int64_t c = 0; c < s.c; ++c) {
            const double z = logits(n, h, w, c), p_c = p.weighted ? pos_weight(c) : 1;
            const double t = s.c == 1 ? label : (label == c ? 1 : 0);
            const double factor = 1 + (p_c - 1) * t;
            // log(1 + exp(-z)) without overflow for z << 0.
            const double softplus = std::log1p(std::exp(-std::abs(z))) + std::max(-z, 0.0);
            const double entropy = (1 - t) * z + factor * softplus;
            const double slope = (1 - t) - factor / (1 + std::exp(z));
            const double away = t == 1 ? -z : z;  // how far on the wrong side
            const Focus f = focus(p.gamma, 1 / (1 + std::exp(-away)), (1 - t) * z + softplus);
            sum += f.loss * entropy;
            dlogits(n, h, w, c) = static_cast<T>(scale * f.gradient * slope);
          }
          return sum;
        });
    *static_cast<T*>(b.loss) = static_cast<T>(scale * loss);
  });
}

// --- Tversky ------------------------------------------------------------------------------------

// What the network gives the channels of a pixel.
template <class T>
std::vector<double> probabilities(const TverskyLoss& p, const Features<const T>& logits, int64_t n,
                                  int64_t h, int64_t w) {
  std::vector<double> z;
  for (int64_t c = 0; c < p.logits.c; ++c) z.push_back(logits(n, h, w, c));
  if (p.activation == Activation::sigmoid) {
    for (double& v : z) v = 1 / (1 + std::exp(-v));
    return z;
  }
  const double top = *std::max_element(z.begin(), z.end());
  for (double& v : z) v = std::exp(v - top);
  const double sum = std::accumulate(z.begin(), z.end(), 0.0);
  for (double& v : z) v /= sum;
  return z;
}

// Soft counts of a class.
struct Overlap {
  double tp = 0, fp = 0, fn = 0;
};

// Of every class, summed per row and then over the rows in order.
template <class T>
std::vector<Overlap> overlaps(const TverskyLoss& p, const Features<const T>& logits,
                              const uint8_t* labels) {
  const Shape& s = p.logits;
  const auto channels = static_cast<size_t>(s.c);
  std::vector<Overlap> rows(static_cast<size_t>(s.n * s.h) * channels), sums(channels);
  const int64_t first = p.first_label();
  for_each_valid(s, labels, s.c + first, [&](int64_t n, int64_t h, int64_t w, uint8_t label) {
    Overlap* const row = rows.data() + static_cast<size_t>(n * s.h + h) * channels;
    const std::vector<double> share = probabilities(p, logits, n, h, w);
    for (int64_t c = 0; c < s.c; ++c) {
      const double v = share[static_cast<size_t>(c)];
      (label == c + first ? row[c].tp : row[c].fp) += v;
      if (label == c + first) row[c].fn += 1 - v;
    }
  });
  for (size_t i = 0; i < rows.size(); ++i) {
    Overlap& sum = sums[i % channels];
    sum.tp += rows[i].tp, sum.fp += rows[i].fp, sum.fn += rows[i].fn;
  }
  return sums;
}

// The loss, and its derivatives by the probability of each class: where that is the target, and
// where it is not.
struct Slopes {
  double loss = 0;
  std::vector<double> hit, miss;
};

template <class Weight>
Slopes slopes_of(const TverskyLoss& p, const std::vector<Overlap>& overlaps, const Weight& weight) {
  Slopes s{0, std::vector<double>(overlaps.size()), std::vector<double>(overlaps.size())};
  double total = 0;
  for (size_t c = 0; c < overlaps.size(); ++c) {
    if (overlaps[c].tp + overlaps[c].fn != 0) total += weight(static_cast<int64_t>(c));
  }
  for (size_t c = 0; c < overlaps.size(); ++c) {
    const auto [tp, fp, fn] = overlaps[c];
    if (tp + fn == 0 || total == 0) continue;
    const double scale = p.factor * weight(static_cast<int64_t>(c)) / total;
    const double top = tp + p.smooth, whole = top + p.alpha * fp + p.beta * fn;
    s.loss += scale * (1 - top / whole);
    s.hit[c] = scale * (top * (1 - p.beta) / whole - 1) / whole;
    s.miss[c] = scale * top * p.alpha / (whole * whole);
  }
  return s;
}

void tversky_loss(const TverskyLoss& p, const TverskyLoss::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape& s = p.logits;
    const Features<const T> logits(b.logits, s), weights(b.weights, {1, 1, 1, s.c});
    const auto dlogits = cleared<Features<T>>(b.dlogits, s);
    const Slopes slopes = slopes_of(p, overlaps(p, logits, b.labels), [&](int64_t c) {
      return p.weighted ? double{weights(c)} : 1.0;
    });
    *static_cast<T*>(b.loss) = static_cast<T>(slopes.loss);
    const int64_t first = p.first_label();
    for_each_valid(s, b.labels, s.c + first, [&](int64_t n, int64_t h, int64_t w, uint8_t label) {
      const std::vector<double> share = probabilities(p, logits, n, h, w);
      std::vector<double> slope = slopes.miss;
      if (label >= first) slope[static_cast<size_t>(label - first)] = slopes.hit[label - first];
      const double mean = std::inner_product(share.begin(), share.end(), slope.begin(), 0.0);
      for (size_t c = 0; c < share.size(); ++c) {
        const double through =
            p.activation == Activation::softmax ? slope[c] - mean : slope[c] * (1 - share[c]);
        dlogits(n, h, w, static_cast<int64_t>(c)) = static_cast<T>(share[c] * through);
      }
    });
  });
}

}  // namespace

void register_loss() {
  add<cross_entropy, CrossEntropy>();
  add<bce_with_logits, BceWithLogits>();
  add<tversky_loss, TverskyLoss>();
}

}  // namespace unetd::ref
