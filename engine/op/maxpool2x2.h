// Maximum over 2x2 windows with stride 2. An odd last row or column is left out, as PyTorch does.
#pragma once

#include "engine/op/registry.h"

namespace unetd {

// x: (n, h, w, c) -> y: (n, h/2, w/2, c). `argmax` (u8, as y) holds 0..3, row-major in the window;
// ties go to the first, and NaN wins over numbers.
struct MaxPool2x2 {
  static constexpr const char* name = "maxpool2x2";
  Shape x;
  DType dtype = DType::f32;

  bool operator==(const MaxPool2x2&) const = default;
  constexpr Shape y() const { return {x.n, x.h / 2, x.w / 2, x.c}; }
  struct Buffers {
    const void* x;
    void* y;
    uint8_t* argmax;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0], static_cast<uint8_t*>(out[1])}; }
};

// Writes all of dx (shape `x`): dy where the maximum was, zero elsewhere.
struct MaxPool2x2Grad {
  static constexpr const char* name = "maxpool2x2_grad";
  Shape x;
  DType dtype = DType::f32;

  bool operator==(const MaxPool2x2Grad&) const = default;
  constexpr Shape y() const { return {x.n, x.h / 2, x.w / 2, x.c}; }
  struct Buffers {
    const void* dy;
    const uint8_t* argmax;
    void* dx;
  };
  Buffers bind(In in, Out out) const { return {in[0], static_cast<const uint8_t*>(in[1]), out[0]}; }
};

}  // namespace unetd
