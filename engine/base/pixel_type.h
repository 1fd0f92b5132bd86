// Turns the element type of stored samples into a C++ type: the four that scenes and stores hold.
#pragma once

#include "engine/base/dtype.h"
#include "engine/base/error.h"

#include <cstdint>
#include <utility>

namespace unetd {

constexpr bool is_pixel_type(DType t) {
  return t == DType::u8 || t == DType::u16 || t == DType::i16 || t == DType::f32;
}

// Calls f with a zero of the element type: with_pixel_type(t, [&](auto zero) { using T = ...; }).
template <class F>
decltype(auto) with_pixel_type(DType t, F&& f) {
  switch (t) {
    case DType::u8:
      return std::forward<F>(f)(uint8_t{});
    case DType::u16:
      return std::forward<F>(f)(uint16_t{});
    case DType::i16:
      return std::forward<F>(f)(int16_t{});
    case DType::f32:
      return std::forward<F>(f)(float{});
    default:
      throw Error(str("pixels are u8, u16, i16 or f32, not ", name_of(t)));
  }
}

}  // namespace unetd
