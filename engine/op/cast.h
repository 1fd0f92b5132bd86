// An image or a parameter in another storage type, rounded to nearest, ties to even. Casting back
// is its gradient.
#pragma once

#include "engine/op/registry.h"
#include "engine/tensor/layout.h"

namespace unetd {

// y = x. `dtype` is the type of x. Both lie as `kind` lies in the device's layout; padding is cast
// like the rest, so that it stays zero. f64 is cast to f64 only, without rounding: gradients are
// checked in it.
struct Cast {
  static constexpr const char* name = "cast";
  Shape shape;
  Kind kind = Kind::features;
  DType dtype = DType::f32, to = DType::bf16;

  bool operator==(const Cast&) const = default;
  constexpr DType result() const { return dtype == DType::f64 ? dtype : to; }
  struct Buffers {
    const void* x;
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0]}; }
};

}  // namespace unetd
