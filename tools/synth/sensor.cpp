#include "tools/synth/sensor.h"

#include "tools/synth/noise.h"
#include "tools/synth/spectra.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace unetd::synth {
namespace {

using Kernel = std::array<float, sensor_reach + 1>;  // one half, the centre first

Kernel gaussian(float sigma) {
  Kernel k{};
  float sum = 0;
  for (int64_t i = 0; i <= sensor_reach; ++i) {
    const float d = static_cast<float>(i) / sigma;
    k[i] = std::exp(-0.5F * d * d);
    sum += i == 0 ? k[i] : 2 * k[i];
  }
  for (float& w : k) w /= sum;
  return k;
}

}  // namespace

void sense(int band, Window window, uint32_t seed, std::span<float> plane) {
  const int64_t w = window.width;
  const float sigma = 0.043F * static_cast<float>(native_metres[band]);
  const Kernel kernel = gaussian(sigma);
  // Smoothing averages the noise of many fine pixels: start with more, so that the band keeps its
  // own.
  const float gain = std::sqrt(1 + 12.57F * sigma * sigma * (sigma > 0.6F));
  for (int64_t r = 0; r < window.rows; ++r)
    for (int64_t x = 0; x < w; ++x) {
      float& v = plane[r * w + x];
      const float deviation =
          (band == band_cirrus ? 0.0030F : 0.0020F) * std::sqrt(1 + 12 * std::max(v, 0.0F));
      v += gain * deviation *
           hash_normal(static_cast<int32_t>(x), static_cast<int32_t>(window.first_row + r),
                       seed + 700 + static_cast<uint32_t>(band));
    }
  std::vector<float> line(w);
  for (int64_t r = 0; r < window.rows; ++r) {
    float* row = &plane[r * w];
    for (int64_t x = 0; x < w; ++x) {
      float sum = kernel[0] * row[x];
      for (int64_t k = 1; k <= sensor_reach; ++k)
        sum += kernel[k] * (row[std::max<int64_t>(x - k, 0)] + row[std::min(x + k, w - 1)]);
      line[x] = sum;
    }
    std::copy(line.begin(), line.end(), row);
  }
  const std::vector<float> from(plane.begin(), plane.end());
  for (int64_t r = sensor_reach; r < window.rows - sensor_reach; ++r)
    for (int64_t x = 0; x < w; ++x) {
      float sum = kernel[0] * from[r * w + x];
      for (int64_t k = 1; k <= sensor_reach; ++k)
        sum += kernel[k] * (from[(r - k) * w + x] + from[(r + k) * w + x]);
      plane[r * w + x] = sum;
    }
}

}  // namespace unetd::synth
