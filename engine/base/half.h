// The 16-bit floating-point storage types: bfloat16 and IEEE binary16. They only store; arithmetic
// is done in float. The conversions round to nearest, ties to even, keep denormals, and give the
// same bits on host and device, where they are single instructions; of a NaN only that it is one.
#pragma once

#include "engine/base/dtype.h"
#include "engine/base/host_device.h"

#include <cstdint>

namespace unetd {

struct bf16 {
  uint16_t bits;
  bool operator==(const bf16&) const = default;  // same bits; not the equality of numbers
};
struct f16 {
  uint16_t bits;
  bool operator==(const f16&) const = default;
};

template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<f16> = DType::f16;

namespace detail {
// std::bit_cast is a host function to nvcc; the builtin serves both sides.
UNETD_HOST_DEVICE constexpr uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
UNETD_HOST_DEVICE constexpr float float_of(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}
inline constexpr uint32_t f32_infinity = 0x7f800000U;
inline constexpr uint32_t f16_bias_shift = 112U << 23;  // exponent bias 127 against 15
}  // namespace detail

UNETD_HOST_DEVICE constexpr float to_float(float x) { return x; }

UNETD_HOST_DEVICE constexpr float to_float(bf16 x) {
  return detail::float_of(static_cast<uint32_t>(x.bits) << 16);
}

UNETD_HOST_DEVICE constexpr float to_float(f16 x) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
  return value;
#else
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000U) << 16;
  const uint32_t magnitude = x.bits & 0x7fffU;
  if (magnitude < 0x0400U) {  // zero or denormal: a multiple of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24F;
    return detail::float_of(detail::bits_of(value) | sign);
  }
  const uint32_t rebias = magnitude < 0x7c00U ? detail::f16_bias_shift : 2 * detail::f16_bias_shift;
  return detail::float_of(((magnitude << 13) + rebias) | sign);
#endif
}

UNETD_HOST_DEVICE constexpr bf16 to_bf16(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return {bits};
#else
  const uint32_t u = detail::bits_of(x);
  if ((u & 0x7fffffffU) > detail::f32_infinity) {  // NaN: keep it one when its low bits are cut
    return {static_cast<uint16_t>((u >> 16) | 0x40U)};
  }
  return {static_cast<uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16)};
#endif
}

UNETD_HOST_DEVICE constexpr f16 to_f16(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return {bits};
#else
  const uint32_t sign = (detail::bits_of(x) >> 16) & 0x8000U;
  const uint32_t u = detail::bits_of(x) & 0x7fffffffU;
  uint32_t bits = 0;
  if (u > detail::f32_infinity) {
    bits = 0x7e00U | ((u >> 13) & 0x3ffU);
  } else if (u >= detail::bits_of(65520.F)) {  // half-way between the largest f16 and 2^16
    bits = 0x7c00U;
  } else if (u < detail::bits_of(0x1p-14F)) {
    // Denormal. The last place of a float in [0.5, 1) is 2^-24, that of f16's denormals: the adder
    // rounds.
    bits = detail::bits_of(detail::float_of(u) + 0.5F) - detail::bits_of(0.5F);
  } else {
    bits = (u + 0xfffU + ((u >> 13) & 1U) - detail::f16_bias_shift) >> 13;
  }
  return {static_cast<uint16_t>(bits | sign)};
#endif
}

// from_float<T>(x) for T = float, bf16, f16: for code that is generic in the storage type.
template <class T>
UNETD_HOST_DEVICE constexpr T from_float(float x);
template <>
UNETD_HOST_DEVICE constexpr float from_float<float>(float x) {
  return x;
}
template <>
UNETD_HOST_DEVICE constexpr bf16 from_float<bf16>(float x) {
  return to_bf16(x);
}
template <>
UNETD_HOST_DEVICE constexpr f16 from_float<f16>(float x) {
  return to_f16(x);
}

}  // namespace unetd
