// Operations that only move pixels or channels: concatenation, its inverse, padding and cropping.
#pragma once

#include "engine/op/registry.h"

namespace unetd {

// y = the channels of a, then those of b. a: (n, h, w, ca), b: (n, h, w, cb), y: (n, h, w, ca +
// cb).
struct ConcatChannels {
  static constexpr const char* name = "concat_channels";
  Shape a;
  int64_t cb = 0;
  DType dtype = DType::f32;

  bool operator==(const ConcatChannels&) const = default;
  constexpr Shape b() const { return {a.n, a.h, a.w, cb}; }
  constexpr Shape y() const { return {a.n, a.h, a.w, a.c + cb}; }
  struct Buffers {
    const void *a, *b;
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], in[1], out[0]}; }
};

// The inverse: y -> a, b. Shapes as above.
struct SplitChannels {
  static constexpr const char* name = "split_channels";
  Shape a;
  int64_t cb = 0;
  DType dtype = DType::f32;

  bool operator==(const SplitChannels&) const = default;
  constexpr Shape b() const { return {a.n, a.h, a.w, cb}; }
  constexpr Shape y() const { return {a.n, a.h, a.w, a.c + cb}; }
  struct Buffers {
    const void* y;
    void *a, *b;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0], out[1]}; }
};

// Adds zeros at the borders where the amounts are positive, cuts pixels off where they are
// negative.
struct Pad2d {
  static constexpr const char* name = "pad2d";
  Shape x;
  int64_t top = 0, bottom = 0, left = 0, right = 0;
  DType dtype = DType::f32;

  bool operator==(const Pad2d&) const = default;
  constexpr Shape y() const { return {x.n, x.h + top + bottom, x.w + left + right, x.c}; }
  // The gradient of padding is cropping by the same amounts, and the other way round.
  constexpr Pad2d inverse() const { return {y(), -top, -bottom, -left, -right, dtype}; }
  struct Buffers {
    const void* x;
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0]}; }
};

}  // namespace unetd
