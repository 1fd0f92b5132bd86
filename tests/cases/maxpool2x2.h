// Problems of max-pooling.
#pragma once

#include "engine/op/maxpool2x2.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

// Few different values, so that ties are met.
inline Signature describe(const MaxPool2x2& p) {
  return {{{"x", p.x, Kind::features, p.dtype, integers(-3, 3)}},
          {{.name = "y", .shape = p.y(), .dtype = p.dtype, .reduction = 0},
           {.name = "argmax", .shape = p.y(), .dtype = DType::u8, .reduction = 0}}};
}

inline Signature describe(const MaxPool2x2Grad& p) {
  return {{{"dy", p.y(), Kind::features, p.dtype},
           {"argmax", p.y(), Kind::features, DType::u8, integers(0, 3)}},
          {{.name = "dx", .shape = p.x, .dtype = p.dtype, .reduction = 0}}};
}

template <class P>
Cases<P> maxpool_cases() {
  return for_shapes<P>({{1, 2, 2, 1},
                        {1, 3, 2, 13},
                        {2, 5, 7, 3},
                        {1, 4, 4, 17},
                        {2, 8, 6, 16},
                        {1, 6, 9, 33},
                        {1, 16, 16, 64}},
                       net_levels(0, net_depth - 1), [](const Shape& s) { return P{.x = s}; });
}
template <>
inline Cases<MaxPool2x2> cases<MaxPool2x2>() {
  return maxpool_cases<MaxPool2x2>();
}
template <>
inline Cases<MaxPool2x2Grad> cases<MaxPool2x2Grad>() {
  return maxpool_cases<MaxPool2x2Grad>();
}

}  // namespace unetd
