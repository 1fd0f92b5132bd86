// Problems of casting: every storage type to every other, on images and on filters.
#pragma once

#include "engine/op/cast.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline Signature describe(const Cast& p) {
  return {{{"x", p.shape, p.kind, p.dtype}},
          {{.name = "y", .shape = p.shape, .kind = p.kind, .dtype = p.result()}}};
}

template <>
inline Cases<Cast> cases<Cast>() {
  Cases<Cast> all;
  for (const DType to : {DType::f32, DType::bf16, DType::f16}) {
    for (const Shape& s : edge_shapes()) all.test.push_back({.shape = s, .to = to});
    all.test.push_back({.shape = {17, 3, 3, 13}, .kind = Kind::filter, .to = to});
  }
  for (const Shape& s : net_levels(0, net_depth)) all.perf.push_back({.shape = s});
  return all;
}

}  // namespace unetd
