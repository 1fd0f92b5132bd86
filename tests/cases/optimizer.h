// Problems of the optimiser: flat buffers, at odd lengths and at the length of the large network.
#pragma once

#include "engine/op/optimizer.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

#include <cmath>
#include <limits>

namespace unetd {

inline std::vector<int64_t> flat_test_counts() { return {1, 15, 1000, 4097}; }
inline std::vector<int64_t> flat_perf_counts() { return {31'043'588, 1'942'756}; }

inline BufferSpec flat(const char* name, int64_t count, DType dtype, Fill fill = {},
                       bool in_place = false) {
  return {name, vector_shape(count), Kind::dense, dtype, std::move(fill), in_place};
}
// OptimizerScalars as five floats, in the order of its members.
inline BufferSpec scalars_spec() {
  static_assert(sizeof(OptimizerScalars) == 5 * sizeof(float));
  return flat("scalars", 5, DType::f32, list({0.01, 0.3, 0.2, 0.9, 0.8}));
}

inline Signature describe(const GlobalNorm& p) {
  Signature s{{flat("x", p.count, p.dtype)}, {flat("norm", 1, p.dtype)}};
  s.out[0].reduction = p.count;
  return s;
}
// An optimiser's buffers with the states named; v, a mean of squares, is not negative.
template <class P>
Signature describe_update(const P& p, std::initializer_list<const char*> states) {
  // Few numbers of elements leave the step out.
  const double factor = p.count == 15 ? std::nan("") : 0.25;
  Signature s{
      {flat("grad", p.count, p.dtype), scalars_spec(), flat("factor", 1, p.dtype, list({factor}))},
      {flat("param", p.count, p.dtype, {}, true)}};
  for (const std::string name : states) {
    const bool squares = name == "v" || name == "largest";
    s.out.push_back(
        flat(name.c_str(), p.count, p.dtype, squares ? uniform(0.01, 1) : Fill{}, true));
  }
  return s;
}
inline Signature describe(const AdamW& p) {
  if (p.amsgrad) return describe_update(p, {"m", "v", "largest"});
  return describe_update(p, {"m", "v"});
}
inline Signature describe(const Sgd& p) {
  if (!p.momentous) return describe_update(p, {});
  return describe_update(p, {"velocity"});
}
inline Signature describe(const RmsProp& p) {
  if (!p.momentous) return describe_update(p, {"v"});
  return describe_update(p, {"v", "velocity"});
}
// LossScale as two floats, in the order of its members.
inline BufferSpec loss_scale_spec(double scale, double good_steps, bool in_place) {
  static_assert(sizeof(LossScale) == 2 * sizeof(float));
  return flat("loss_scale", 2, DType::f32, list({scale, good_steps}), in_place);
}
inline Signature describe(const ScaleGradient& p) {
  return {{{"x", p.shape, Kind::features, p.dtype}, loss_scale_spec(1024, 0, false)},
          {{.name = "y", .shape = p.shape, .dtype = p.dtype}}};
}
// A clipping norm of 2 stands for a gradient that is not finite, one of 3 for such a loss.
inline Signature describe(const GradientFactor& p) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const double norm = p.max_norm == 2 ? infinity : 3, loss = p.max_norm == 3 ? infinity : 0.5;
  Signature s{{flat("loss", 1, p.dtype, list({loss}))},
              {flat("factor", 1, p.dtype), flat("norm", 1, p.dtype, list({norm}), true)}};
  if (p.scaled) s.out.push_back(loss_scale_spec(64, 7, true));
  return s;
}
inline Signature describe(const Ema& p) {
  return {{flat("param", p.count, p.dtype), scalars_spec()},
          {flat("average", p.count, p.dtype, {}, true)}};
}

template <class P>
Cases<P> flat_cases() {
  Cases<P> all;
  for (const int64_t count : flat_test_counts()) all.test.push_back({.count = count});
  for (const int64_t count : flat_perf_counts()) all.perf.push_back({.count = count});
  return all;
}
template <>
inline Cases<GlobalNorm> cases<GlobalNorm>() {
  return flat_cases<GlobalNorm>();
}
template <>
inline Cases<AdamW> cases<AdamW>() {
  Cases<AdamW> all = flat_cases<AdamW>();
  all.test.push_back({.count = 1000, .weight_decay = 0});
  all.test.push_back({.count = 1000, .weight_decay = 0.1F, .coupled = true});
  all.test.push_back({.count = 1000, .amsgrad = true});
  all.test.push_back({.count = 15, .amsgrad = true});
  return all;
}
template <>
inline Cases<Sgd> cases<Sgd>() {
  Cases<Sgd> all = flat_cases<Sgd>();
  for (const bool nesterov : {false, true}) {
    all.test.push_back({.count = 1000, .momentous = true, .nesterov = nesterov});
    all.test.push_back(
        {.count = 1000, .momentous = true, .nesterov = nesterov, .weight_decay = 0.1F});
  }
  all.perf = {{.count = flat_perf_counts().front(), .momentous = true}};
  return all;
}
template <>
inline Cases<RmsProp> cases<RmsProp>() {
  Cases<RmsProp> all = flat_cases<RmsProp>();
  for (const bool momentous : {false, true}) {
    all.test.push_back({.count = 1000, .weight_decay = 0.1F, .momentous = momentous});
  }
  all.perf = {{.count = flat_perf_counts().front(), .momentous = true}};
  return all;
}
template <>
inline Cases<ScaleGradient> cases<ScaleGradient>() {
  return for_shapes<ScaleGradient>(edge_shapes(), net_logits(),
                                   [](const Shape& s) { return ScaleGradient{.shape = s}; });
}
template <>
inline Cases<GradientFactor> cases<GradientFactor>() {
  Cases<GradientFactor> all;
  for (const float max_norm : {0.F, 1.F, 2.F, 3.F, 100.F}) {
    all.test.push_back({.max_norm = max_norm});
    // The eighth good step in a row: the last before the scale grows, and the one that lets it.
    for (const float interval : {9.F, 8.F}) {
      all.test.push_back({.max_norm = max_norm, .scaled = true, .growth_interval = interval});
    }
  }
  all.perf.push_back({.max_norm = 1, .scaled = true});
  return all;
}
template <>
inline Cases<Ema> cases<Ema>() {
  return flat_cases<Ema>();
}

}  // namespace unetd
