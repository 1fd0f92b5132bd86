// Problems of batch normalisation.
#pragma once

#include "engine/op/batch_norm.h"
#include "engine/op/batch_norm_pool.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

// A mean far from zero shows variances computed as E[x^2] - E[x]^2.
inline Fill off_centre() { return uniform(-1, 3); }

inline Signature describe(const BatchNormStats& p) {
  const Shape v = vector_shape(p.shape.c);
  const int64_t n = p.shape.pixels();
  const auto out = [&](const char* name, bool in_place, Fill fill = {}) {
    return BufferSpec{name, v, Kind::features, wide_type(p.dtype), std::move(fill), in_place, n};
  };
  return {{{"x", p.shape, Kind::features, p.dtype, off_centre()}},
          {out("mean", false), out("rstd", false), out("running_mean", true),
           out("running_var", true, uniform(0.5, 2))}};
}

// x, then the images in `more`, and the vectors of channels.
inline std::vector<BufferSpec> batch_norm_inputs(const Shape& shape, DType dtype, Fill x,
                                                 std::vector<BufferSpec> more = {}) {
  const Shape v = vector_shape(shape.c);
  const DType wide = wide_type(dtype);
  std::vector<BufferSpec> all{{"x", shape, Kind::features, dtype, std::move(x)}};
  all.insert(all.end(), more.begin(), more.end());
  all.push_back({"gamma", v, Kind::features, wide, uniform(0.5, 2)});
  all.push_back({"beta", v, Kind::features, wide});
  all.push_back({"mean", v, Kind::features, wide, uniform(0.5, 1.5)});
  all.push_back({"rstd", v, Kind::features, wide, uniform(0.5, 2)});
  return all;
}
inline std::vector<BufferSpec> batch_norm_gradients(const Shape& shape, DType dtype) {
  const Shape v = vector_shape(shape.c);
  const int64_t n = shape.pixels();
  return {{.name = "dx", .shape = shape, .dtype = dtype, .reduction = n},
          {.name = "dgamma", .shape = v, .dtype = wide_type(dtype), .reduction = n},
          {.name = "dbeta", .shape = v, .dtype = wide_type(dtype), .reduction = n}};
}

inline Signature describe(const BatchNormApply& p) {
  return {batch_norm_inputs(p.shape, p.dtype, off_centre()),
          {{.name = "y", .shape = p.shape, .dtype = p.dtype}}};
}

inline Signature describe(const BatchNormGrad& p) {
  return {
      batch_norm_inputs(p.shape, p.dtype, off_centre(), {{"dy", p.shape, Kind::features, p.dtype}}),
      batch_norm_gradients(p.shape, p.dtype)};
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

// Few different values, so that ties are met in windows; the ReLU cuts a part of them.
inline Signature describe(const BatchNormApplyPool& p) {
  return {batch_norm_inputs(p.shape, p.dtype, integers(-2, 4)),
          {{.name = "y", .shape = p.shape, .dtype = p.dtype},
           {.name = "pooled", .shape = p.pooled(), .dtype = p.dtype}}};
}

inline Signature describe(const BatchNormPoolGrad& p) {
  return {batch_norm_inputs(p.shape, p.dtype, integers(-2, 4),
                            {{"dy_skip", p.shape, Kind::features, p.dtype},
                             {"dpooled", p.pooled(), Kind::features, p.dtype}}),
          batch_norm_gradients(p.shape, p.dtype)};
}

inline std::vector<Shape> batch_norm_shapes() {
  std::vector<Shape> shapes = edge_shapes();
  shapes.push_back({1, 23, 29, 40});  // several chunks of pixels, the last one cut
  return shapes;
}

// Each shape with and without the ReLU; timing with it, as UNets use it.
template <class P>
Cases<P> batch_norm_cases() {
  const std::vector<Shape> shapes = batch_norm_shapes();
  Cases<P> all = for_shapes<P>(shapes, net_levels(0, net_depth),
                               [](const Shape& s) { return P{.shape = s, .relu = true}; });
  for (const Shape& s : shapes) all.test.push_back({.shape = s});
  return all;
}
// One row and one column have no window; many pixels are several chunks on every device.
template <class P>
Cases<P> batch_norm_pool_cases() {
  std::vector<Shape> shapes = batch_norm_shapes();
  shapes.insert(shapes.end(),
                {{2, 1, 5, 3}, {1, 6, 1, 16}, {1, 2, 2, 8}, {1, 5, 6, 12}, many_pixels});
  return for_shapes<P>(shapes, net_levels(0, net_depth - 1),
                       [](const Shape& s) { return P{.shape = s}; });
}
template <>
inline Cases<BatchNormStats> cases<BatchNormStats>() {
  return for_shapes<BatchNormStats>(batch_norm_shapes(), net_levels(0, net_depth),
                                    [](const Shape& s) { return BatchNormStats{.shape = s}; });
}
template <>
inline Cases<BatchNormApply> cases<BatchNormApply>() {
  return batch_norm_cases<BatchNormApply>();
}
template <>
inline Cases<BatchNormGrad> cases<BatchNormGrad>() {
  return batch_norm_cases<BatchNormGrad>();
}
template <>
inline Cases<BatchNormInference> cases<BatchNormInference>() {
  return batch_norm_cases<BatchNormInference>();
}
template <>
inline Cases<BatchNormApplyPool> cases<BatchNormApplyPool>() {
  return batch_norm_pool_cases<BatchNormApplyPool>();
}
template <>
inline Cases<BatchNormPoolGrad> cases<BatchNormPoolGrad>() {
  return batch_norm_pool_cases<BatchNormPoolGrad>();
}

}  // namespace unetd
