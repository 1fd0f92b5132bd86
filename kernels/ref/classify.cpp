#include "engine/op/classify.h"

#include "kernels/ref/ref.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace unetd::ref {
namespace {

// value(n, h, w, c), wherever the kind of values has it.
template <class T, class P>
auto values_of(const P& p, const void* data) {
  return [&p, data](int64_t n, int64_t h, int64_t w, int64_t c) {
    const Layout layout = layout_of(DeviceType::cpu);
    return static_cast<const T*>(data)[storage_index(layout, p.kind, p.values, n, h, w, c)];
  };
}

template <class P, class V>
uint8_t class_of(const P& p, const V& value, int64_t n, int64_t h, int64_t w) {
  if (p.values.c == 1) return value(n, h, w, 0) > p.threshold ? 1 : 0;
  int64_t best = 0;
  for (int64_t c = 1; c < p.values.c; ++c) {
    if (value(n, h, w, c) > value(n, h, w, best)) best = c;
  }
  return static_cast<uint8_t>(best);
}

void classify(const Classify& p, const Classify::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const auto value = values_of<T>(p, b.values);
    for_each_row(p.values, [&](int64_t n, int64_t h) {
      for (int64_t w = 0; w < p.values.w; ++w) {
        bool lost = false;
        for (int64_t c = 0; c < p.values.c; ++c) lost = lost || std::isnan(value(n, h, w, c));
        b.classes[(n * p.values.h + h) * p.values.w + w] =
            lost ? no_class : class_of(p, value, n, h, w);
      }
    });
  });
}

void confusion_matrix(const ConfusionMatrix& p, const ConfusionMatrix::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const auto value = values_of<T>(p, b.values);
    const uint8_t* label = b.labels;
    for (int64_t n = 0; n < p.values.n; ++n) {
      for (int64_t h = 0; h < p.values.h; ++h) {
        for (int64_t w = 0; w < p.values.w; ++w, ++label) {
          if (*label < p.classes()) {
            ++b.counts[*label * p.classes() + class_of(p, value, n, h, w)];
          }
        }
      }
    }
  });
}

void probability_counts(const ProbabilityCounts& p, const ProbabilityCounts::Buffers& b) {
  using P = ProbabilityCounts;
  const int64_t classes = p.classes();
  with_type(p.dtype, [&]<class T>(T) {
    const auto value = values_of<T>(p, b.values);
    const uint8_t* label = b.labels;
    std::vector<float> shares(static_cast<size_t>(classes));
    for (int64_t n = 0; n < p.values.n; ++n) {
      for (int64_t h = 0; h < p.values.h; ++h) {
        for (int64_t w = 0; w < p.values.w; ++w, ++label) {
          if (*label >= classes) continue;
          for (int64_t c = 0; c < p.values.c; ++c)
            shares[static_cast<size_t>(c)] = static_cast<float>(value(n, h, w, c));
          if (p.values.c == 1) shares = {1 - shares[0], shares[0]};
          if (std::ranges::any_of(shares, [](float v) { return std::isnan(v); })) continue;
          for (int64_t c = 0; c < classes; ++c) {
            if (!(shares[static_cast<size_t>(c)] > p.threshold)) continue;
            ++b.counts[c];
            if (c == *label) ++b.counts[classes + c];
          }
          const auto best = std::ranges::max_element(shares);
          int64_t* const bin = b.counts + 2 * classes + int64_t{P::fields} * P::bin_of(*best);
          ++bin[0];
          if (best - shares.begin() == *label) ++bin[1];
          bin[2] += static_cast<int64_t>(*best * P::unit);
        }
      }
    }
  });
}

}  // namespace

void register_classify() {
  add<classify, Classify>();
  add<confusion_matrix, ConfusionMatrix>();
  add<probability_counts, ProbabilityCounts>();
}

}  // namespace unetd::ref
