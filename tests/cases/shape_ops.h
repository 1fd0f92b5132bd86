// Problems of concatenation, splitting, padding and cropping. All of them move bits unchanged.
#pragma once

#include "engine/op/shape_ops.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline BufferSpec moved(const char* name, const Shape& shape, DType dtype) {
  return {.name = name, .shape = shape, .dtype = dtype, .reduction = 0};
}
inline Signature describe(const ConcatChannels& p) {
  return {{moved("a", p.a, p.dtype), moved("b", p.b(), p.dtype)}, {moved("y", p.y(), p.dtype)}};
}
inline Signature describe(const SplitChannels& p) {
  return {{moved("y", p.y(), p.dtype)}, {moved("a", p.a, p.dtype), moved("b", p.b(), p.dtype)}};
}
inline Signature describe(const Pad2d& p) {
  return {{moved("x", p.x, p.dtype)}, {moved("y", p.y(), p.dtype)}};
}

// Blocks that join cleanly and blocks that do not.
template <class P>
Cases<P> concat_cases() {
  Cases<P> all{{{{1, 1, 1, 1}, 1},
                {{2, 3, 5, 3}, 13},
                {{1, 4, 4, 16}, 16},
                {{2, 2, 3, 13}, 17},
                {{1, 5, 4, 17}, 16},
                {{1, 5, 4, 16}, 33},
                {{1, 7, 7, 64}, 64}},
               {}};
  for (const Shape& s : net_levels(0, net_depth - 1)) all.perf.push_back({s, s.c});
  return all;
}
template <>
inline Cases<ConcatChannels> cases<ConcatChannels>() {
  return concat_cases<ConcatChannels>();
}
template <>
inline Cases<SplitChannels> cases<SplitChannels>() {
  return concat_cases<SplitChannels>();
}

template <>
inline Cases<Pad2d> cases<Pad2d>() {
  Cases<Pad2d> all{{{{1, 1, 1, 1}, 1, 1, 1, 1},
                    {{1, 4, 5, 3}, 0, 1, 0, 1},
                    {{2, 6, 4, 16}, -1, -2, -1, 0},
                    {{1, 3, 5, 17}, 2, -1, -3, 4},
                    {{1, 3, 4, 33}, 0, 0, 0, 0},
                    {{1, 3, 4, 13}, 5, -4, -5, 2},  // cuts more than there was: only zeros are left
                    {{1, 9, 9, 64}, -2, -2, -2, -2}},
                   {}};
  for (const Shape& s : net_levels(0, net_depth - 1)) {
    const Shape odd{s.n, s.h - 1, s.w - 1, s.c};
    all.perf.push_back({odd, 0, 1, 0, 1});
  }
  return all;
}

}  // namespace unetd
