// Problems of dropout.
#pragma once

#include "engine/op/dropout.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline Signature describe(const Dropout& p) {
  return {{{"x", p.shape, Kind::features, p.dtype},
           {.name = "batch",
            .shape = vector_shape(1),
            .kind = Kind::dense,
            .dtype = DType::i64,
            .fill = list({5e10})}},
          {{.name = "y", .shape = p.shape, .dtype = p.dtype}}};
}

template <>
inline Cases<Dropout> cases<Dropout>() {
  Cases<Dropout> all = for_shapes<Dropout>(
      edge_shapes(), net_levels(net_depth, net_depth),
      [](const Shape& s) { return Dropout{.shape = s, .rate = 0.3F, .seed = 11}; });
  all.test.push_back({.shape = many_pixels, .rate = 0.5F, .seed = uint64_t{1} << 50});
  all.test.push_back({.shape = {1, 2, 3, 24}, .rate = 0});
  return all;
}

}  // namespace unetd
