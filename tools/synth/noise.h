// Position-based noise: every value is a pure function of (x, y, seed), so any window of a scene
// can be computed alone, in any order, on any thread. Coordinates are in cells of the lattice.
#pragma once

#include <cmath>
#include <cstdint>

namespace unetd::synth {

struct Vec2 {
  float x = 0, y = 0;
};

// 0 below `low`, 1 above `high`, a cubic between.
constexpr float smoothstep(float low, float high, float x) {
  const float t = (x - low) / (high - low);
  const float u = t < 0 ? 0 : t > 1 ? 1 : t;
  return u * u * (3 - 2 * u);
}

constexpr float mix(float a, float b, float t) { return a + (b - a) * t; }

// The integer part, downwards; without SSE 4.1 the library's floor is a slow call.
constexpr int32_t floor_int(float x) {
  const auto i = static_cast<int32_t>(x);
  return static_cast<float>(i) > x ? i - 1 : i;
}

// 32 well-mixed bits of a lattice point.
constexpr uint32_t hash(int32_t x, int32_t y, uint32_t seed) {
  uint32_t h = static_cast<uint32_t>(x) * 0x9E3779B1U ^ static_cast<uint32_t>(y) * 0x85EBCA77U ^
               seed * 0xC2B2AE3DU;
  h = (h ^ (h >> 15)) * 0x2C1B3C6DU;
  h = (h ^ (h >> 12)) * 0x297A2D39U;
  return h ^ (h >> 15);
}

// Uniform in [0, 1).
constexpr float hash_uniform(int32_t x, int32_t y, uint32_t seed) {
  return static_cast<float>(hash(x, y, seed) >> 8) * 0x1p-24F;
}

// Near normal, mean 0, variance 1: the centred sum of the four bytes of a hash.
inline float hash_normal(int32_t x, int32_t y, uint32_t seed) {
  const uint32_t h = hash(x, y, seed);
  const uint32_t sum = (h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24);
  return (static_cast<float>(sum) - 510.0F) * (1.0F / 147.8F);
}

// Gradient noise (Perlin, "Improving noise", 2002): zero mean, about [-1, 1], twice differentiable.
float gradient_noise(float x, float y, uint32_t seed);

// Sum of `octaves` of gradient noise, each of twice the frequency and `gain` times the amplitude,
// scaled to a standard deviation of about 0.3.
float fbm(float x, float y, uint32_t seed, int octaves, float gain = 0.5F);

// Ridged multifractal (Musgrave): sharp crests, detail gathers on them. About [0, 1].
float ridged(float x, float y, uint32_t seed, int octaves);

// The nearest point of a jittered lattice: an identity for each Voronoi cell, and the distances to
// the nearest and the second nearest point (their difference vanishes on the cell's border).
struct Cell {
  uint32_t id;
  float nearest, second;
};
Cell voronoi(float x, float y, uint32_t seed);

}  // namespace unetd::synth
