#include "tools/synth/terrain.h"

#include "engine/base/rng.h"
#include "engine/base/threads.h"
#include "tools/synth/drainage.h"
#include "tools/synth/noise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

namespace unetd::synth {
namespace {

constexpr float no_lake = -1e6F;
constexpr float pixel_metres = 10;
constexpr float cell_metres = pixel_metres * CoarseGrid::cell;
constexpr float river_area = 6e6F;  // square metres of catchment where a stream becomes a river

// Catmull-Rom weights of four neighbours at t in [0, 1) between the middle two: the surface and its
// slope are continuous, so shading shows no creases along the coarse cells.
struct CubicWeights {
  float w[4];
  explicit CubicWeights(float t)
      : w{0.5F * t * (-1 + t * (2 - t)), 0.5F * (2 + t * t * (-5 + 3 * t)),
          0.5F * t * (1 + t * (4 - 3 * t)), 0.5F * t * t * (t - 1)} {}
};

// One step of smoothing with the kernel (1 2 1)/4 in both directions, on [1, side - 1).
void smooth(std::vector<float>& field, int64_t side) {
  const std::vector<float> from = field;
  parallel_for(side - 2, [&](int64_t row) {
    for (int64_t i = (row + 1) * side + 1; i < (row + 2) * side - 1; ++i)
      field[i] =
          0.25F * from[i] + 0.125F * (from[i - 1] + from[i + 1] + from[i - side] + from[i + side]) +
          0.0625F *
              (from[i - side - 1] + from[i - side + 1] + from[i + side - 1] + from[i + side + 1]);
  });
}

// Bends the lattice: noise shapes lose their roundness.
Vec2 warp(float x, float y, uint32_t seed, float strength) {
  return {x + strength * fbm(x, y, seed, 3), y + strength * fbm(x + 31.7F, y - 17.3F, seed, 3)};
}

}  // namespace

Terrain::Terrain(int64_t scene_size, uint64_t seed, double water_share)
    : grid_(scene_size), seed_(Rng(seed, 1).next()) {
  erode();
  make_lakes(water_share);
  spread_lake_levels();
  survey();
}

// The land before the rivers: a broad tilt with hills. Returns how fast each cell rises, relative
// to the mean: ranges rise, basins hardly.
std::vector<float> Terrain::young_land() {
  const int64_t side = grid_.side;
  height_.resize(grid_.count());
  std::vector<float> rise(grid_.count());
  Rng rng(seed_, 2);
  const float heading = rng.uniform(0, 6.2831853F), fall = rng.uniform(200, 500);
  parallel_for(grid_.count(), [&](int64_t i) {
    const int64_t row = i / side;
    const float x = static_cast<float>(i % side), y = static_cast<float>(row);
    const Vec2 p = warp(x / 170, y / 170, seed_ + 100, 0.6F);
    const float range = ridged(p.x, p.y, seed_ + 110, 3);
    const float tilt = (std::cos(heading) * x + std::sin(heading) * y) / static_cast<float>(side);
    rise[i] = mix(0.25F, 1.6F, smoothstep(0.35F, 0.95F, range));
    height_[i] = 700 + fall * tilt + 420 * fbm(p.x * 1.7F, p.y * 1.7F, seed_ + 120, 6, 0.55F) +
                 20 * hash_uniform(static_cast<int32_t>(x), static_cast<int32_t>(y), seed_ + 130);
  });
  return rise;
}

// Fluvial erosion by the stream power law, uplift against K * sqrt(area) * slope, solved implicitly
// from the border inwards (Braun and Willett, "FastScape", 2013), with slopes limited by
// landslides.
void Terrain::erode() {
  constexpr int steps = 26;
  constexpr float erodibility = 0.22F, uplift = 42;  // per step; their ratio sets the steepness
  constexpr float steepest = 1.0F;                   // tangent of the slope where rock slides
  const int64_t side = grid_.side;
  const std::vector<float> rise = young_land();
  for (int step = 0; step < steps; ++step) {
    const Drainage d = drain(height_, side);
    const std::vector<float> area = drained_cells(d);
    for (const int32_t i : d.order) {
      const int32_t r = d.receiver[i];
      if (r == i) continue;
      const bool diagonal = i % side != r % side && i / side != r / side;
      const float run = diagonal ? 1.4142F * cell_metres : cell_metres;
      const float cut = erodibility * std::sqrt(area[i]) * cell_metres / run;
      const float old = std::max(height_[i], d.filled[i]);
      height_[i] = std::min((old + uplift * rise[i] + cut * height_[r]) / (1 + cut),
                            height_[r] + steepest * run);
    }
    // Creep rounds the ridges: without it every cell would start a valley of its own.
    for (int pass = 0; pass < 2; ++pass) smooth(height_, side);
  }
}

// Glaciers leave hollows in valleys: smooth noise digs them, a flood finds them, the largest stay
// lakes up to the share asked for, and rivers have filled the others with flat sediment.
void Terrain::make_lakes(double water_share) {
  const int64_t side = grid_.side, inner = side - 2 * CoarseGrid::margin;
  const double aim = water_share * static_cast<double>(inner * inner);
  const std::vector<float> bedrock = height_;
  lake_level_.assign(grid_.count(), no_lake);
  double flooded = 0;
  float depth = 45;
  for (int attempt = 0; attempt < 5 && flooded < 0.8 * aim; ++attempt, depth *= 1.6F) {
    parallel_for(grid_.count(), [&](int64_t i) {
      const int64_t row = i / side;
      const float x = static_cast<float>(i % side), y = static_cast<float>(row);
      height_[i] = bedrock[i] + depth * fbm(x / 38, y / 38, seed_ + 200, 3);
      lake_level_[i] = no_lake;
    });
    const Drainage d = drain(height_, side);
    std::vector<std::vector<int32_t>> lakes = hollows(height_, d, side, 0.5F);
    std::stable_sort(lakes.begin(), lakes.end(),
                     [](const auto& a, const auto& b) { return a.size() > b.size(); });
    flooded = 0;
    for (const std::vector<int32_t>& lake : lakes) {
      const auto inside = static_cast<double>(
          std::count_if(lake.begin(), lake.end(), [&](int32_t i) { return grid_.in_scene(i); }));
      const bool stays = lake.size() > 6 && flooded + inside <= 1.15 * aim;
      if (stays) flooded += inside;
      for (const int32_t i : lake) (stays ? lake_level_ : height_)[i] = d.filled[i];
    }
  }
  Drainage d = drain(height_, side);
  drained_ = drained_cells(d);
  for (float& area : drained_) area *= cell_metres * cell_metres;
  receiver_ = std::move(d.receiver);
}

// The shore runs between a wet and a dry cell, so the dry ones around a lake know its level too.
// Lower cells below the outlet do not: they would be flooded.
void Terrain::spread_lake_levels() {
  const int64_t side = grid_.side;
  for (int ring = 0; ring < 2; ++ring) {
    const std::vector<float> from = lake_level_;
    for (int64_t y = 1; y < side - 1; ++y)
      for (int64_t x = 1; x < side - 1; ++x) {
        const int64_t i = y * side + x;
        if (from[i] != no_lake) continue;
        for (const int64_t j : {i - 1, i + 1, i - side, i + side, i - side - 1, i - side + 1,
                                i + side - 1, i + side + 1})
          if (from[j] <= height_[i] + 0.5F) lake_level_[i] = std::max(lake_level_[i], from[j]);
      }
  }
}

// What every pixel will ask for: how steep the land is, and whether a river is within two cells.
void Terrain::survey() {
  const int64_t side = grid_.side;
  slope_.assign(grid_.count(), 0);
  near_river_.assign(grid_.count(), 0);
  for (int64_t y = 2; y < side - 2; ++y)
    for (int64_t x = 2; x < side - 2; ++x) {
      const int64_t i = y * side + x;
      slope_[i] =
          std::hypot(height_[i + 1] - height_[i - 1], height_[i + side] - height_[i - side]) /
          (2 * cell_metres);
      if (drained_[i] < river_area) continue;
      for (int64_t dy = -2; dy <= 2; ++dy)
        for (int64_t dx = -2; dx <= 2; ++dx) near_river_[i + dy * side + dx] = 1;
    }
  smooth(slope_, side);
}

float Terrain::coarse_height(float x, float y) const {
  const auto ix = static_cast<int64_t>(x), iy = static_cast<int64_t>(y);
  const CubicWeights wx(x - static_cast<float>(ix)), wy(y - static_cast<float>(iy));
  float sum = 0;
  for (int64_t j = 0; j < 4; ++j) {
    const float* row = &height_[(iy - 1 + j) * grid_.side + ix - 1];
    sum += wy.w[j] * (wx.w[0] * row[0] + wx.w[1] * row[1] + wx.w[2] * row[2] + wx.w[3] * row[3]);
  }
  return sum;
}

float Terrain::coarse_slope(float x, float y) const {
  const auto ix = static_cast<int64_t>(x), iy = static_cast<int64_t>(y);
  const float* row = &slope_[iy * grid_.side + ix];
  const float tx = x - static_cast<float>(ix), ty = y - static_cast<float>(iy);
  return mix(mix(row[0], row[1], tx), mix(row[grid_.side], row[grid_.side + 1], tx), ty);
}

// Rivers follow the drainage from cell to cell through jittered nodes.
void Terrain::add_river(float x, float y, int64_t coarse, Site& site) const {
  const int64_t side = grid_.side;
  const auto node = [&](int64_t i) {
    const auto cx = static_cast<int32_t>(i % side), cy = static_cast<int32_t>(i / side);
    return Vec2{static_cast<float>(cx) + 0.8F * hash_uniform(cx, cy, seed_ + 300) - 0.4F,
                static_cast<float>(cy) + 0.8F * hash_uniform(cx, cy, seed_ + 301) - 0.4F};
  };
  for (int64_t dy = -2; dy <= 2; ++dy)
    for (int64_t dx = -2; dx <= 2; ++dx) {
      const int64_t i = coarse + dy * side + dx;
      if (drained_[i] < river_area || receiver_[i] == i) continue;
      const Vec2 a = node(i), b = node(receiver_[i]);
      const float abx = b.x - a.x, aby = b.y - a.y;
      const float t = std::clamp(
          ((x - a.x) * abx + (y - a.y) * aby) / (abx * abx + aby * aby + 1e-6F), 0.0F, 1.0F);
      const float distance = std::hypot(x - a.x - t * abx, y - a.y - t * aby);  // coarse cells
      const float half_width = std::min(0.10F * std::sqrt(drained_[i] / river_area), 0.6F);
      if (distance < half_width) {
        site.water_depth = std::max(site.water_depth, 3 * (1 - distance / half_width) + 0.3F);
        site.turbidity = 0.85F;
      }
      site.river_bank = std::max(
          site.river_bank, 1 - smoothstep(1.2F * half_width, 2.6F * half_width + 0.1F, distance));
    }
}

Site Terrain::at(float x, float y) const {
  constexpr auto margin = static_cast<float>(CoarseGrid::margin);
  const float cx = x / CoarseGrid::cell + margin, cy = y / CoarseGrid::cell + margin;
  const auto coarse = std::lround(cy) * grid_.side + std::lround(cx);
  Site site;
  const float slope = coarse_slope(cx, cy);
  const Vec2 p = warp(x / 34, y / 34, seed_ + 400, 0.35F);
  const float rough = 2.0F + 42 * smoothstep(0.08F, 0.9F, slope);
  site.elevation = coarse_height(cx, cy) + rough * (ridged(p.x, p.y, seed_ + 410, 5) - 0.45F);
  if (near_river_[coarse] != 0) add_river(cx, cy, coarse, site);
  const float level = lake_level_[coarse];
  if (site.elevation < level) {
    site.water_depth = level - site.elevation;
    site.turbidity = hash_uniform(static_cast<int32_t>(level * 16), 0, seed_ + 420);
    site.river_bank = 0;
    site.elevation = level;
  }
  return site;
}

}  // namespace unetd::synth
