// The 16-bit storage types against the definition of rounding: the nearest representable number,
// and of two equally near ones that with an even last bit.
#include "engine/base/half.h"

#include <cmath>
#include <limits>
#include <random>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

static_assert(sizeof(bf16) == 2 && sizeof(f16) == 2);
static_assert(to_f16(1.F).bits == 0x3c00 && to_bf16(-2.F).bits == 0xc000);

// The value of a bit pattern by the book: sign, exponent, fraction.
double value_of(uint32_t bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const auto exponent = static_cast<int>((bits & 0x7fffU) >> fraction_bits);
  const double fraction = bits & ((1U << fraction_bits) - 1U);
  const double sign = (bits & 0x8000U) != 0 ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign *
         std::ldexp(fraction + std::ldexp(1., fraction_bits), exponent - bias - fraction_bits);
}

// All finite patterns, and what lies between two neighbours.
template <class T>
void check_type(int exponent_bits) {
  const uint32_t first_infinity = ((1U << exponent_bits) - 1U) << (15 - exponent_bits);
  int wrong = 0;
  for (uint32_t bits = 0; bits < first_infinity; ++bits) {
    const T here{static_cast<uint16_t>(bits)}, next{static_cast<uint16_t>(bits + 1)};
    const T negative{static_cast<uint16_t>(bits | 0x8000U)};
    const float low = to_float(here);
    wrong += low != value_of(bits, exponent_bits);
    wrong += from_float<T>(low) != here;
    wrong += from_float<T>(to_float(negative)) != negative;
    // The next value of the format with an unbounded exponent: overflow rounds there to infinity.
    const auto high = static_cast<float>(value_of(bits + 1, exponent_bits));
    if (!std::isfinite(high)) continue;
    const float middle = low + (high - low) / 2;
    wrong += from_float<T>(middle) != (bits % 2 == 0 ? here : next);
    wrong += from_float<T>(std::nextafter(middle, 0.F)) != here;
    wrong += from_float<T>(std::nextafter(middle, infinity)) != next;
    wrong += from_float<T>(-std::nextafter(middle, 0.F)) != negative;
  }
  CHECK(wrong == 0);
  CHECK(from_float<T>(infinity).bits == first_infinity);
  CHECK(from_float<T>(-infinity).bits == (first_infinity | 0x8000U));
  CHECK(to_float(T{static_cast<uint16_t>(first_infinity)}) == infinity);
  CHECK(from_float<T>(-0.F).bits == 0x8000U);
  CHECK(from_float<T>(std::numeric_limits<float>::denorm_min()).bits == 0);
  CHECK(std::isnan(to_float(from_float<T>(nan))));
  // A NaN whose payload lies in the bits that are cut off stays one.
  CHECK(std::isnan(to_float(from_float<T>(__builtin_nansf("1")))));
}

TEST_CASE("f16 rounds to nearest even, denormals included", "[half][unit]") { check_type<f16>(5); }
TEST_CASE("bf16 rounds to nearest even, denormals included", "[half][unit]") {
  check_type<bf16>(8);
}

}  // namespace
}  // namespace unetd
