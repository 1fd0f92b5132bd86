#include "engine/op/classify.h"

#include "kernels/ref/ref.h"

#include <cmath>

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

}  // namespace

void register_classify() {
  add<classify, Classify>();
  add<confusion_matrix, ConfusionMatrix>();
}

}  // namespace unetd::ref
