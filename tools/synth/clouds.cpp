#include "tools/synth/clouds.h"

#include "engine/base/rng.h"
#include "engine/base/threads.h"
#include "tools/synth/noise.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace unetd::synth {
namespace {

// The value that `share` of the samples of field(x, y) over the scene exceed.
template <class F>
float upper_quantile(int64_t scene_size, double share, F&& field) {
  constexpr int64_t side = 192;
  std::vector<float> samples(side * side);
  const float step = static_cast<float>(scene_size) / side;
  parallel_for(side * side, [&](int64_t i) {
    const int64_t row = i / side;
    samples[i] = field((static_cast<float>(i % side) + 0.5F) * step,
                       (static_cast<float>(row) + 0.5F) * step);
  });
  const auto rank =
      std::clamp<int64_t>(std::llround((1 - share) * side * side), 0, side * side - 1);
  std::nth_element(samples.begin(), samples.begin() + rank, samples.end());
  return samples[rank];
}

}  // namespace

Clouds::Clouds(int64_t scene_size, uint64_t seed, double share, double sun_azimuth,
               Altitudes altitudes)
    : seed_(Rng(seed, 3).next()),
      toward_sun_x_(std::sin(static_cast<float>(sun_azimuth) * 0.017453293F)),
      toward_sun_y_(-std::cos(static_cast<float>(sun_azimuth) * 0.017453293F)),
      altitudes_(altitudes) {
  // Without clouds no threshold may be reached; otherwise the layers share the sky, overlapping a
  // little.
  const auto threshold = [&](double part, auto field) {
    return share <= 0 ? 1e6F : upper_quantile(scene_size, part * share, field);
  };
  cumulus_threshold_ = threshold(0.56, [&](float x, float y) { return cumulus(x, y); });
  ice_threshold_ = threshold(0.40, [&](float x, float y) { return ice(x, y); });
  cirrus_threshold_ = threshold(0.40, [&](float x, float y) { return cirrus(x, y); });
}

// Clouds gather in fields: a broad mask with rounded lumps on it.
float Clouds::cumulus_outline(float x, float y) const {
  return fbm(x / 520, y / 520, seed_, 2) + 0.45F * fbm(x / 120, y / 120, seed_ + 30, 3);
}

// The same with towers (Voronoi cells in three sizes) and a frayed border.
float Clouds::cumulus(float x, float y) const {
  const float wx = x + 14 * fbm(x / 40, y / 40, seed_ + 10, 4, 0.6F);
  const float wy = y + 14 * fbm(x / 40, y / 40, seed_ + 15, 4, 0.6F);
  float towers = 0, amplitude = 0.34F;
  for (const float spacing : {64.0F, 26.0F, 11.0F}) {
    towers += amplitude * (0.5F - voronoi(wx / spacing, wy / spacing, seed_ + 20).nearest);
    amplitude *= 0.5F;
  }
  return cumulus_outline(x, y) + towers + 0.10F * fbm(x / 12, y / 12, seed_ + 35, 4, 0.6F);
}

float Clouds::ice(float x, float y) const {
  const float u = 0.8F * x + 0.6F * y, v = -0.6F * x + 0.8F * y;
  const float wx = u / 520 + 0.35F * fbm(x / 200, y / 200, seed_ + 40, 4);
  return fbm(wx, v / 260, seed_ + 50, 6, 0.5F);
}

// Streaks drawn out by the wind.
float Clouds::cirrus(float x, float y) const {
  const float u = 0.9F * x - 0.43F * y, v = 0.43F * x + 0.9F * y;
  const float bend = 40 * fbm(x / 400, y / 400, seed_ + 60, 2);
  return fbm(x / 700, y / 700, seed_ + 70, 2) +
         0.7F * fbm(u / 420, (v + bend) / 60, seed_ + 80, 5, 0.55F);
}

CloudColumn Clouds::column(float x, float y) const {
  CloudColumn c;
  c.mist = 1.6F * smoothstep(-0.2F, 0.6F, fbm(x / 230, y / 230, seed_ + 95, 4));
  c.gap = cumulus_outline(x, y) > cumulus_threshold_ + 0.02F;
  const float thickness = cumulus(x, y) - cumulus_threshold_;
  if (thickness > 0) {
    c.water = 110 * thickness * smoothstep(-0.05F, 0.12F, thickness);
    // The top rises with the thickness: the side that faces the sun is brighter.
    const float ahead = cumulus(x + 3 * toward_sun_x_, y + 3 * toward_sun_y_) - cumulus_threshold_;
    c.shade = std::clamp(1 + 2.4F * (thickness - ahead), 0.55F, 1.25F);
  }
  const float sheet = ice(x, y) - ice_threshold_;
  if (sheet > 0) {
    c.ice = 70 * sheet * smoothstep(0, 0.12F, sheet);
    c.grain = 0.5F + fbm(x / 260, y / 260, seed_ + 90, 3);
    if (c.ice > c.water)
      c.shade = std::clamp(
          1 + 1.2F * (sheet - ice(x + 4 * toward_sun_x_, y + 4 * toward_sun_y_) + ice_threshold_),
          0.7F, 1.15F);
  }
  const float veil = cirrus(x, y) - cirrus_threshold_;
  if (veil > 0) c.cirrus = std::min(0.5F + 6 * veil, 4.0F) * smoothstep(0, 0.05F, veil);
  return c;
}

float Clouds::transmission(float x, float y, float elevation, float run) const {
  const auto crossing = [&](float altitude) {
    const float distance = std::max(altitude - elevation, 0.0F) * run;
    return Vec2{x + distance * toward_sun_x_, y + distance * toward_sun_y_};
  };
  const Vec2 low = crossing(altitudes_.cumulus), middle = crossing(altitudes_.ice),
             high = crossing(altitudes_.cirrus);
  const float thickness = std::max(cumulus(low.x, low.y) - cumulus_threshold_, 0.0F);
  const float sheet = std::max(ice(middle.x, middle.y) - ice_threshold_, 0.0F);
  const float veil = std::max(cirrus(high.x, high.y) - cirrus_threshold_, 0.0F);
  // Mostly forward scattering: a cloud dims less than its optical depth says.
  return std::exp(-0.25F * (80 * thickness + 60 * sheet) - 0.35F * std::min(veil, 0.6F));
}

}  // namespace unetd::synth
