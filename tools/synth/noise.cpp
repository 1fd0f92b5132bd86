#include "tools/synth/noise.h"

#include <algorithm>
#include <array>

namespace unetd::synth {
namespace {

// Dot product of the offset with one of 16 unit gradients.
float corner(uint32_t h, float dx, float dy) {
  static constexpr std::array<float, 20> wave = {
      0,           0.3826834F,  0.7071068F,  0.9238795F,  1,           0.9238795F, 0.7071068F,
      0.3826834F,  0,           -0.3826834F, -0.7071068F, -0.9238795F, -1,         -0.9238795F,
      -0.7071068F, -0.3826834F, 0,           0.3826834F,  0.7071068F,  0.9238795F};
  const uint32_t k = h >> 28;
  return wave[k + 4] * dx + wave[k] * dy;
}

float fade(float t) { return t * t * t * (t * (t * 6 - 15) + 10); }

}  // namespace

float gradient_noise(float x, float y, uint32_t seed) {
  const int32_t ix = floor_int(x), iy = floor_int(y);
  const float dx = x - static_cast<float>(ix), dy = y - static_cast<float>(iy), u = fade(dx);
  const float top =
      mix(corner(hash(ix, iy, seed), dx, dy), corner(hash(ix + 1, iy, seed), dx - 1, dy), u);
  const float bottom = mix(corner(hash(ix, iy + 1, seed), dx, dy - 1),
                           corner(hash(ix + 1, iy + 1, seed), dx - 1, dy - 1), u);
  return 1.4142F * mix(top, bottom, fade(dy));
}

float fbm(float x, float y, uint32_t seed, int octaves, float gain) {
  float sum = 0, amplitude = 1, power = 0;
  for (int octave = 0; octave < octaves; ++octave) {
    sum += amplitude * gradient_noise(x, y, seed + static_cast<uint32_t>(octave));
    power += amplitude * amplitude;
    amplitude *= gain;
    // Turned by 37 degrees from octave to octave, so that the lattice's axes do not show.
    const float turned = 1.6F * x - 1.2F * y;
    y = 1.2F * x + 1.6F * y;
    x = turned;
  }
  return sum / std::sqrt(power);
}

float ridged(float x, float y, uint32_t seed, int octaves) {
  float sum = 0, amplitude = 0.5F, weight = 1;
  for (int octave = 0; octave < octaves; ++octave) {
    const float crest = 1 - std::abs(gradient_noise(x, y, seed + static_cast<uint32_t>(octave)));
    const float signal = crest * crest * weight;
    sum += amplitude * signal;
    weight = std::clamp(2 * signal, 0.0F, 1.0F);
    amplitude *= 0.5F;
    const float turned = 1.6F * x - 1.2F * y;
    y = 1.2F * x + 1.6F * y;
    x = turned;
  }
  return sum;
}

Cell voronoi(float x, float y, uint32_t seed) {
  const int32_t ix = floor_int(x), iy = floor_int(y);
  Cell cell{0, 9, 9};
  for (int32_t cy = iy - 1; cy <= iy + 1; ++cy)
    for (int32_t cx = ix - 1; cx <= ix + 1; ++cx) {
      const uint32_t id = hash(cx, cy, seed);
      const float px = static_cast<float>(cx) + static_cast<float>(id & 0xFFFF) * 0x1p-16F - x;
      const float py = static_cast<float>(cy) + static_cast<float>(id >> 16) * 0x1p-16F - y;
      const float distance = px * px + py * py;
      if (distance < cell.nearest) {
        cell = {id, distance, cell.nearest};
      } else {
        cell.second = std::min(cell.second, distance);
      }
    }
  cell.nearest = std::sqrt(cell.nearest);
  cell.second = std::sqrt(cell.second);
  return cell;
}

}  // namespace unetd::synth
