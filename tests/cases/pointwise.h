// Problems of the element-wise operations and of softmax.
#pragma once

#include "engine/op/pointwise.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

#include <concepts>

namespace unetd {

// Selecting and copying is exact; everything else rounds, softmax over its channels.
inline Signature describe_unary(const detail::Unary& p, int64_t reduction) {
  return {{{"x", p.shape, Kind::features, p.dtype, uniform(-8, 8)}},
          {{.name = "y", .shape = p.shape, .dtype = p.dtype, .reduction = reduction}}};
}
inline Signature describe_unary_grad(const detail::UnaryGrad& p, int64_t reduction) {
  return {{{"y", p.shape, Kind::features, p.dtype}, {"dy", p.shape, Kind::features, p.dtype}},
          {{.name = "dx", .shape = p.shape, .dtype = p.dtype, .reduction = reduction}}};
}
inline Signature describe(const Relu& p) { return describe_unary(p, 0); }
inline Signature describe(const ReluGrad& p) { return describe_unary_grad(p, 0); }
inline Signature describe(const Sigmoid& p) { return describe_unary(p, 1); }
inline Signature describe(const SigmoidGrad& p) { return describe_unary_grad(p, 1); }
inline Signature describe(const Softmax& p) { return describe_unary(p, p.shape.c); }
inline Signature describe(const SoftmaxGrad& p) { return describe_unary_grad(p, p.shape.c); }
inline Signature describe(const Add& p) {
  return {{{"a", p.shape, p.kind, p.dtype}, {"b", p.shape, p.kind, p.dtype}},
          {{.name = "y", .shape = p.shape, .kind = p.kind, .dtype = p.dtype}}};
}

template <class P>
requires std::derived_from<P, detail::Unary> || std::derived_from<P, detail::UnaryGrad> Cases<P>
pointwise_cases(const std::vector<Shape>& perf) {
  return for_shapes<P>(edge_shapes(), perf, [](const Shape& s) { return P{{.shape = s}}; });
}
template <>
inline Cases<Relu> cases<Relu>() {
  return pointwise_cases<Relu>(net_levels(0, net_depth));
}
template <>
inline Cases<ReluGrad> cases<ReluGrad>() {
  return pointwise_cases<ReluGrad>(net_levels(0, net_depth));
}
template <>
inline Cases<Sigmoid> cases<Sigmoid>() {
  return pointwise_cases<Sigmoid>(net_logits());
}
template <>
inline Cases<SigmoidGrad> cases<SigmoidGrad>() {
  return pointwise_cases<SigmoidGrad>(net_logits());
}
template <class P>
Cases<P> softmax_cases() {
  Cases<P> all = pointwise_cases<P>(net_logits());
  all.test.push_back({{.shape = many_pixels}});
  return all;
}
template <>
inline Cases<Softmax> cases<Softmax>() {
  return softmax_cases<Softmax>();
}
template <>
inline Cases<SoftmaxGrad> cases<SoftmaxGrad>() {
  return softmax_cases<SoftmaxGrad>();
}
template <>
inline Cases<Add> cases<Add>() {
  Cases<Add> all = for_shapes<Add>(edge_shapes(), net_levels(0, net_depth - 1),
                                   [](const Shape& s) { return Add{.shape = s}; });
  for (const int64_t count : {1, 21}) {
    all.test.push_back({.shape = vector_shape(count), .kind = Kind::dense});
  }
  return all;
}

}  // namespace unetd
