// Problems of batch normalisation.
#pragma once

#include "engine/op/batch_norm.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

// A mean far from zero shows variances computed as E[x^2] - E[x]^2.
inline Fill off_centre() { return uniform(-1, 3); }

inline Signature describe(const BatchNorm& p) {
  const Shape v = vector_shape(p.shape.c);
  const int64_t n = p.shape.pixels();
  const auto out = [&](const char* name, const Shape& s, bool in_place, Fill fill = {}) {
    return BufferSpec{name, s, Kind::features, wide_type(p.dtype), std::move(fill), in_place, n};
  };
  return {{{"x", p.shape, Kind::features, p.dtype, off_centre()},
           {"gamma", v, Kind::features, wide_type(p.dtype), uniform(0.5, 2)},
           {"beta", v, Kind::features, wide_type(p.dtype)}},
          {{.name = "y", .shape = p.shape, .dtype = p.dtype, .reduction = n},
           out("mean", v, false),
           out("rstd", v, false),
           out("running_mean", v, true),
           out("running_var", v, true, uniform(0.5, 2))}};
}

inline Signature describe(const BatchNormGrad& p) {
  const Shape v = vector_shape(p.shape.c);
  const int64_t n = p.shape.pixels();
  return {{{"x", p.shape, Kind::features, p.dtype, off_centre()},
           {"dy", p.shape, Kind::features, p.dtype},
           {"gamma", v, Kind::features, wide_type(p.dtype), uniform(0.5, 2)},
           {"beta", v, Kind::features, wide_type(p.dtype)},
           {"mean", v, Kind::features, wide_type(p.dtype), uniform(0.5, 1.5)},
           {"rstd", v, Kind::features, wide_type(p.dtype), uniform(0.5, 2)}},
          {{.name = "dx", .shape = p.shape, .dtype = p.dtype, .reduction = n},
           {.name = "dgamma", .shape = v, .dtype = wide_type(p.dtype), .reduction = n},
           {.name = "dbeta", .shape = v, .dtype = wide_type(p.dtype), .reduction = n}}};
}

inline Signature describe(const BatchNormInference& p) {
  const Shape v = vector_shape(p.shape.c);
  return {{{"x", p.shape, Kind::features, p.dtype, off_centre()},
           {"gamma", v, Kind::features, wide_type(p.dtype), uniform(0.5, 2)},
           {"beta", v, Kind::features, wide_type(p.dtype)},
           {"mean", v, Kind::features, wide_type(p.dtype)},
           {"var", v, Kind::features, wide_type(p.dtype), uniform(0.1, 2)}},
          {{.name = "y", .shape = p.shape, .dtype = p.dtype}}};
}

// Each shape with and without the ReLU; timing with it, as UNets use it.
template <class P>
Cases<P> batch_norm_cases() {
  std::vector<Shape> shapes = edge_shapes();
  shapes.push_back({1, 23, 29, 40});  // several chunks of pixels, the last one cut
  Cases<P> all = for_shapes<P>(shapes, net_levels(0, net_depth),
                               [](const Shape& s) { return P{.shape = s, .relu = true}; });
  for (const Shape& s : shapes) all.test.push_back({.shape = s});
  return all;
}
template <>
inline Cases<BatchNorm> cases<BatchNorm>() {
  return batch_norm_cases<BatchNorm>();
}
template <>
inline Cases<BatchNormGrad> cases<BatchNormGrad>() {
  return batch_norm_cases<BatchNormGrad>();
}
template <>
inline Cases<BatchNormInference> cases<BatchNormInference>() {
  return batch_norm_cases<BatchNormInference>();
}

}  // namespace unetd
