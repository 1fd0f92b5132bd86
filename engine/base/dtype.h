// Element types of tensors and their sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

namespace unetd {

// f64 exists for the reference kernels only: gradients are checked by finite differences in it.
enum class DType : uint8_t { f32, f64, bf16, f16, u8, i16, u16, i32, i64 };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
    case DType::i16:
    case DType::u16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr std::string_view name_of(DType t) {
  constexpr std::string_view names[] = {"f32", "f64", "bf16", "f16", "u8",
                                        "i16", "u16", "i32",  "i64"};
  const auto i = static_cast<size_t>(t);
  return i < std::size(names) ? names[i] : "unknown";
}

// The type of what goes with images of type t without being one: biases, scales, statistics,
// gradients of parameters, sums. 16-bit types only store images and filters.
constexpr DType wide_type(DType t) { return t == DType::bf16 || t == DType::f16 ? DType::f32 : t; }

// The DType of a C++ element type: dtype_of<float> == DType::f32.
template <class T>
inline constexpr DType dtype_of = DType::u8;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<int16_t> = DType::i16;
template <>
inline constexpr DType dtype_of<uint16_t> = DType::u16;
template <>
inline constexpr DType dtype_of<int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<int64_t> = DType::i64;

}  // namespace unetd
