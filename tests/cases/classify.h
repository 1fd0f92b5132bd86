// Problems of classes and confusion matrices: few different values, so that ties are met, labels
// that are ignored or do not exist, matrices that begin with counts.
#pragma once

#include "engine/op/classify.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline Signature describe(const Classify& p) {
  return {{{"values", p.values, p.kind, p.dtype, integers(-3, 3)}},
          {{.name = "classes",
            .shape = {p.values.n, p.values.h, p.values.w, 1},
            .kind = Kind::dense,
            .dtype = DType::u8,
            .reduction = 0}}};
}
inline Signature describe(const ConfusionMatrix& p) {
  const int64_t k = p.classes();
  return {{{"values", p.values, p.kind, p.dtype, integers(-3, 3)},
           {"labels", {p.values.n, p.values.h, p.values.w, 1}, Kind::dense, DType::u8, labels(k)}},
          {{.name = "counts",
            .shape = {1, 1, k, k},
            .kind = Kind::dense,
            .dtype = DType::i64,
            .fill = integers(0, 9),
            .in_place = true,
            .reduction = 0}}};
}

// Multiples of an eighth: on the edges of bins, equal to thresholds and to each other.
inline Signature describe(const ProbabilityCounts& p) {
  return {{{"values", p.values, p.kind, p.dtype, fractions(8)},
           {"labels",
            {p.values.n, p.values.h, p.values.w, 1},
            Kind::dense,
            DType::u8,
            labels(p.classes())}},
          {{.name = "counts",
            .shape = vector_shape(p.count()),
            .kind = Kind::dense,
            .dtype = DType::i64,
            .fill = integers(0, 9),
            .in_place = true,
            .reduction = 0}}};
}

// Both kinds of values, both thresholds, and as many classes as a byte can tell.
template <class P>
Cases<P> classify_cases() {
  Cases<P> all;
  std::vector<Shape> shapes = edge_shapes();
  shapes.insert(shapes.end(),
                {{3, 5, 7, 1}, {1, 9, 5, 2}, {2, 16, 16, 4}, {1, 3, 5, most_classes}});
  for (const Kind kind : {Kind::features, Kind::dense}) {
    for (const Shape& s : shapes) all.test.push_back({.values = s, .kind = kind});
    all.test.push_back({.values = {1, 5, 3, 1}, .kind = kind, .threshold = 0.5F});
  }
  all.test.push_back({.values = many_pixels});
  for (const Shape& s : net_logits()) all.perf.push_back({.values = s});
  return all;
}
template <>
inline Cases<Classify> cases<Classify>() {
  return classify_cases<Classify>();
}
template <>
inline Cases<ConfusionMatrix> cases<ConfusionMatrix>() {
  return classify_cases<ConfusionMatrix>();
}
template <>
inline Cases<ProbabilityCounts> cases<ProbabilityCounts>() {
  Cases<ProbabilityCounts> all = classify_cases<ProbabilityCounts>();
  for (ProbabilityCounts& p : all.test) p.threshold = p.values.c == 2 ? 0.75F : 0.5F;
  return all;
}

}  // namespace unetd
