// Problems of regression. Some pixels have no target, and of three images one has no pixel with
// one.
#pragma once

#include "engine/base/rng.h"
#include "engine/op/regression.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline bool image_is_empty(int64_t n) { return n % 3 == 1; }

inline std::vector<double> target_list(const Shape& s) {
  Rng rng(7);
  std::vector<double> targets;
  for (int64_t i = 0; i < s.pixels(); ++i) {
    const float target = rng.uniform(-2, 3);
    const bool absent = image_is_empty(i / (s.h * s.w)) || rng.below(8) == 0;
    targets.push_back(absent ? no_target : target);
  }
  return targets;
}
// The sums are inputs of a loss, which must take them as they come: any numbers do.
inline std::vector<double> sum_list(int64_t images) {
  Rng rng(8);
  std::vector<double> sums;
  for (int64_t n = 0; n < images; ++n) {
    const double pixels = image_is_empty(n) ? 0 : 1 + rng.below(50);
    for (const float share : {1.F, rng.uniform(-1, 1), rng.uniform(1, 2), rng.uniform(2, 3),
                              rng.uniform(-1, 1), rng.uniform(1, 2)}) {
      sums.push_back(pixels * double{share});
    }
  }
  return sums;
}

inline BufferSpec describe_targets(const Shape& values) {
  return {.name = "targets",
          .shape = values,
          .kind = Kind::dense,
          .dtype = DType::f32,
          .fill = list(target_list(values))};
}
inline BufferSpec describe_sums(const Shape& values) {
  return {.name = "sums",
          .shape = {values.n, 1, 1, error_fields},
          .kind = Kind::dense,
          .dtype = DType::f64,
          .fill = list(sum_list(values.n))};
}

inline Signature describe(const ErrorSums& p) {
  BufferSpec sums = describe_sums(p.values);
  sums.reduction = p.values.h * p.values.w;
  return {
      {{"values", p.values, Kind::features, p.dtype, uniform(-2, 3)}, describe_targets(p.values)},
      {sums}};
}
inline Signature describe(const RegressionLoss& p) {
  return {{{"values", p.values, Kind::features, p.dtype, uniform(-2, 3)},
           describe_targets(p.values),
           describe_sums(p.values)},
          {{.name = "loss",
            .shape = {},
            .kind = Kind::dense,
            .dtype = wide_type(p.dtype),
            .reduction = p.values.n},
           {.name = "dvalues", .shape = p.values, .dtype = p.dtype}}};
}

inline std::string setting_of(const RegressionLoss& p) {
  using Norm = RegressionLoss::Norm;
  return p.norm == Norm::squared ? "squared" : p.norm == Norm::absolute ? "absolute" : "mass";
}

// Images that fill packs and others, some of several chunks on a CPU, and as many as leave a GPU's
// block more than one pack a thread.
inline std::vector<Shape> regression_shapes() {
  return {{1, 1, 1, 1},   {1, 4, 4, 1},   {2, 5, 7, 1},   {4, 3, 9, 1},
          {1, 65, 65, 1}, {3, 16, 16, 1}, {33, 33, 32, 1}};
}
inline std::vector<Shape> net_values() {
  std::vector<Shape> all;
  for (const NetShape& net : nets) all.push_back(net.level(0, 1));
  return all;
}

template <>
inline Cases<ErrorSums> cases<ErrorSums>() {
  std::vector<Shape> shapes = regression_shapes();
  shapes.push_back({66, 1, 2, 1});  // more images than blocks that join them
  return for_shapes<ErrorSums>(shapes, net_values(),
                               [](const Shape& s) { return ErrorSums{.values = s}; });
}
template <>
inline Cases<RegressionLoss> cases<RegressionLoss>() {
  using Norm = RegressionLoss::Norm;
  Cases<RegressionLoss> all;
  for (const Norm norm : {Norm::squared, Norm::absolute, Norm::mass}) {
    for (const Shape& s : regression_shapes()) all.test.push_back({.values = s, .norm = norm});
    all.test.push_back({.values = {4, 3, 9, 1}, .norm = norm, .factor = 0.3F});
    for (const Shape& s : net_values()) all.perf.push_back({.values = s, .norm = norm});
  }
  all.test.push_back(
      {.values = {260, 1, 1, 1}, .norm = Norm::mass});  // more than a block's threads
  return all;
}

}  // namespace unetd
