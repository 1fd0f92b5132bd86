// Problems of the optimiser: flat buffers, at odd lengths and at the length of the large network.
#pragma once

#include "engine/op/optimizer.h"
#include "tests/support/cases.h"

namespace unetd {

inline std::vector<int64_t> flat_test_counts() { return {1, 15, 1000, 4097}; }
inline std::vector<int64_t> flat_perf_counts() { return {31'043'588, 1'942'756}; }

inline BufferSpec flat(const char* name, int64_t count, DType dtype, Fill fill = {},
                       bool in_place = false) {
  return {name, vector_shape(count), Kind::dense, dtype, std::move(fill), in_place};
}
// OptimizerScalars as four floats, in the order of its members.
inline BufferSpec scalars_spec() {
  static_assert(sizeof(OptimizerScalars) == 4 * sizeof(float));
  return flat("scalars", 4, DType::f32, list({0.01, 0.3, 0.2, 0.9}));
}

inline Signature describe(const GlobalNorm& p) {
  Signature s{{flat("x", p.count, p.dtype)}, {flat("norm", 1, p.dtype)}};
  s.out[0].reduction = p.count;
  return s;
}
inline Signature describe(const AdamW& p) {
  Signature s{{flat("grad", p.count, p.dtype), scalars_spec()},
              {flat("param", p.count, p.dtype, {}, true), flat("m", p.count, p.dtype, {}, true),
               flat("v", p.count, p.dtype, uniform(0.01, 1), true)}};
  if (p.max_norm > 0) s.in.push_back(flat("norm", 1, p.dtype, list({3})));
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
  for (const float max_norm : {1.0F, 100.0F}) {  // the norm is 3: with and without effect
    all.test.push_back({.count = 1000, .weight_decay = 0, .max_norm = max_norm});
  }
  return all;
}
template <>
inline Cases<Ema> cases<Ema>() {
  return flat_cases<Ema>();
}

}  // namespace unetd
