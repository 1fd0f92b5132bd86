// The files of this folder are compiled once per instruction set, with UNETD_ISA naming it, and put
// their code into a namespace of that name. Include this header last: from here on functions may
// use the instruction set. (The includes before it may not: their inline functions are shared with
// code that runs on any processor.)
#pragma once

#define UNETD_TEXT_OF(x) #x
#define UNETD_TEXT(x) UNETD_TEXT_OF(x)

#if defined(UNETD_AVX512)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#elif defined(UNETD_AVX2)
#pragma GCC target("avx2,fma")
#endif

// Vectors are passed between functions of one file only: the calling convention is all the same.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace unetd::UNETD_ISA {

inline constexpr const char* isa_name = UNETD_TEXT(UNETD_ISA);

// One block of 16 channels. The compiler makes one AVX-512 or two AVX registers of it.
using Vec = float __attribute__((vector_size(64)));
using Mask = int __attribute__((vector_size(64)));

[[gnu::always_inline]] inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
[[gnu::always_inline]] inline void store(float* p, const Vec& v) { *reinterpret_cast<Vec*>(p) = v; }
[[gnu::always_inline]] inline Vec splat(float x) { return Vec{} + x; }
// a where the mask is set, b elsewhere
[[gnu::always_inline]] inline Vec choose(const Mask& mask, const Vec& a, const Vec& b) {
  return mask ? a : b;
}
// NaN stays
[[gnu::always_inline]] inline Vec positive_part(const Vec& x) { return choose(x < 0, Vec{}, x); }

}  // namespace unetd::UNETD_ISA
