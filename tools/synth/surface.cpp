#include "tools/synth/surface.h"

#include "engine/base/rng.h"
#include "engine/base/threads.h"
#include "tools/synth/noise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace unetd::synth {
namespace {

Spectrum blend(const Spectrum& a, const Spectrum& b, float t) {
  Spectrum out{};
  for (int i = 0; i < bands; ++i) out[i] = mix(a[i], b[i], t);
  return out;
}

Spectrum scale(Spectrum s, float factor) {
  for (float& v : s) v *= factor;
  return s;
}

float quantile(std::vector<float> values, double share) {
  const auto rank = std::min(values.size() - 1, static_cast<size_t>(share * values.size()));
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(rank), values.end());
  return values[rank];
}

float steepness(const Facet& f) { return std::hypot(f.east, f.south); }

}  // namespace

Facet facet_at(const Terrain& terrain, float x, float y) {
  Facet f{terrain.at(x, y), 0, 0, x, y};
  if (f.site.water_depth > 0) return f;
  f.east = (terrain.at(x + 1, y).elevation - terrain.at(x - 1, y).elevation) / 20;
  f.south = (terrain.at(x, y + 1).elevation - terrain.at(x, y - 1).elevation) / 20;
  return f;
}

LandCover::LandCover(const Terrain& terrain, int64_t scene_size, uint64_t seed, double snow_share)
    : seed_(Rng(seed, 4).next()) {
  constexpr int64_t side = 160;
  const float step = static_cast<float>(scene_size) / side;
  std::vector<float> heights(side * side), scores(side * side);
  parallel_for(side * side, [&](int64_t i) {
    const int64_t row = i / side;
    const Facet f = facet_at(terrain, (static_cast<float>(i % side) + 0.5F) * step,
                             (static_cast<float>(row) + 0.5F) * step);
    heights[i] = f.site.elevation;
    scores[i] = f.site.water_depth > 0 ? -1e6F : snow_score(f);
  });
  valley_ = quantile(heights, 0.05);
  snow_line_ = snow_share > 0 ? quantile(scores, 1 - snow_share) : 1e6F;
  tree_line_ = quantile(heights, 0.62);
}

// North faces keep their snow 300 m lower, steep walls shed it, wind and sun leave patches.
float LandCover::snow_score(const Facet& f) const {
  const float slope = steepness(f);
  const float north = f.south / std::sqrt(1 + slope * slope);  // rising southwards: looks north
  const float patches = 120 * fbm(f.x / 90, f.y / 90, seed_, 3);
  return f.site.elevation + 520 * north + patches - 700 * smoothstep(0.85F, 1.7F, slope);
}

Spectrum LandCover::rock(const Facet& f) const {
  const float strata = fbm(f.x / 60, f.y / 60 + f.site.elevation / 45, seed_ + 20, 4, 0.6F);
  const float kind = smoothstep(-0.15F, 0.15F, fbm(f.x / 400, f.y / 400, seed_ + 30, 3));
  const Spectrum s = blend(reflectance(Cover::granite), reflectance(Cover::limestone), kind);
  const float rough = hash_normal(floor_int(f.x), floor_int(f.y), seed_ + 40);
  const float scree = smoothstep(0.05F, 0.5F, fbm(f.x / 75, f.y / 75, seed_ + 45, 4));
  return scale(s, std::max(0.75F + 0.35F * strata + 0.07F * rough + 0.8F * kind * scree, 0.3F));
}

// Fields are Voronoi cells, each with a crop of its own; villages are bright grains between.
Spectrum LandCover::field(const Facet& f) const {
  const float village = fbm(f.x / 70, f.y / 70, seed_ + 50, 2);
  if (village > 0.46F) {
    const Cell roof = voronoi(f.x / 2.4F, f.y / 2.4F, seed_ + 60);
    const float bright = static_cast<float>(roof.id & 255) / 255.0F;
    if (bright > 0.45F)
      return scale(reflectance(bright > 0.8F ? Cover::limestone : Cover::granite),
                   0.5F + 1.3F * bright);
    return reflectance(Cover::grass);
  }
  const Cell plot =
      voronoi(f.x / 16 + 0.4F * fbm(f.x / 40, f.y / 40, seed_ + 65, 2), f.y / 23, seed_ + 70);
  constexpr Cover crops[] = {Cover::grass,     Cover::grass,    Cover::soil, Cover::dry_grass,
                             Cover::broadleaf, Cover::wet_soil, Cover::soil, Cover::limestone};
  const Spectrum& crop = reflectance(crops[plot.id >> 8 & 7]);
  const float tone = 0.75F + 0.5F * static_cast<float>(plot.id & 255) / 255.0F;
  const bool hedge = plot.second - plot.nearest < 0.05F;
  return hedge
             ? reflectance(Cover::conifer)
             : scale(crop, tone + 0.05F * hash_normal(floor_int(f.x), floor_int(f.y), seed_ + 75));
}

// The land without snow; `canopy` receives the share of the ground that trees hide.
Spectrum LandCover::bare_land(const Facet& f, float& canopy) const {
  const float slope = steepness(f), z = f.site.elevation;
  const float broad = fbm(f.x / 130, f.y / 130, seed_ + 80, 4);
  const float fine = fbm(f.x / 12, f.y / 12, seed_ + 90, 4, 0.6F);
  const float tree_line = tree_line_ + 160 * broad + 50 * fine;
  const float height = z - tree_line;  // above the trees

  const float meadow_dryness = std::clamp(0.45F + 0.0016F * height + 0.6F * broad, 0.0F, 1.0F);
  Spectrum land = blend(reflectance(Cover::grass), reflectance(Cover::dry_grass), meadow_dryness);
  land = scale(land, 0.9F + 0.3F * fine);
  if (slope < 0.16F && z < tree_line_ - 60)
    land = blend(field(f), land, smoothstep(0.10F, 0.16F, slope + 0.05F * fine));

  canopy = smoothstep(-0.06F, 0.06F, broad + 0.55F * fine + 0.5F * slope - 0.16F) *
           (1 - smoothstep(-40, 40, height)) * smoothstep(0.06F, 0.14F, slope + 0.05F * fine);
  const float leafy = 1 - smoothstep(100, 350, z - valley_ + 250 * broad);
  const float crowns =
      0.85F + 0.16F * hash_normal(floor_int(f.x), floor_int(f.y), seed_ + 100) + 0.4F * fine;
  const Spectrum forest =
      scale(blend(reflectance(Cover::conifer), reflectance(Cover::broadleaf), leafy),
            std::max(crowns, 0.35F));
  land = blend(land, forest, canopy);

  const float stony = std::max(smoothstep(0.75F, 1.1F, slope + 0.25F * fine),
                               smoothstep(60, 330, height + 260 * fine + 260 * (slope - 0.4F)));
  canopy *= 1 - stony;
  land = blend(land, rock(f), stony);
  const float gravel = f.site.river_bank * smoothstep(-0.2F, 0.2F, fine);
  return blend(land, reflectance(Cover::gravel), gravel);
}

// Fresh and fine high up and in patches, coarse and wet lower down, dusty at its lower edge.
Spectrum LandCover::snow(const Facet& f, float score) const {
  const float age = std::clamp(
      0.65F - score / 900 + 0.9F * fbm(f.x / 120, f.y / 120, seed_ + 110, 4), 0.0F, 1.0F);
  const float dust =
      std::clamp(0.55F - score / 220 + fbm(f.x / 50, f.y / 50, seed_ + 120, 4), 0.0F, 0.9F);
  const float ripples = 1 + 0.05F * fbm(f.x / 5, f.y / 9, seed_ + 130, 3);
  const Spectrum clean = blend(reflectance(Cover::fine_snow), reflectance(Cover::coarse_snow), age);
  return scale(blend(clean, reflectance(Cover::dirty_snow), dust), ripples);
}

Spectrum LandCover::water(const Facet& f) const {
  const float plume =
      std::clamp(f.site.turbidity + 0.5F * fbm(f.x / 90, f.y / 90, seed_ + 140, 4), 0.0F, 1.0F);
  const Spectrum body =
      blend(reflectance(Cover::clear_water), reflectance(Cover::turbid_water), plume * plume);
  // Wind roughens the surface: more or less of the sun's glint, the same in all bands.
  const float wind = std::max(fbm(f.x / 160, f.y / 160, seed_ + 160, 3) + 0.1F, 0.0F);
  const float glint = 0.006F + 0.14F * wind * (1 + 0.5F * fbm(f.x / 25, f.y / 40, seed_ + 150, 3));
  Spectrum out{};
  const Spectrum& bed = reflectance(Cover::gravel);
  for (int b = 0; b < bands; ++b) {
    // The bed shows through shallow water, in the visible only.
    const float clarity = b < 4 ? std::exp(-f.site.water_depth * (0.5F + 1.5F * plume)) : 0;
    out[b] = mix(body[b], 0.5F * bed[b], clarity) + glint;
  }
  return out;
}

// No two spots of a kind look the same: moisture, minerals and leaves change the visible, the near
// and the short-wave infrared each in their own way, in patches and from pixel to pixel.
Spectrum LandCover::vary(Spectrum s, const Facet& f, float amount) const {
  constexpr std::array<int, 4> first = {0, 5, 10, bands};
  for (uint32_t group = 0; group < 3; ++group) {
    const uint32_t seed = seed_ + 170 + 10 * group;
    const float patch = fbm(f.x / 45, f.y / 45, seed, 4, 0.65F);
    const float grain = hash_normal(floor_int(f.x), floor_int(f.y), seed);
    const float factor = std::max(1 + amount * (2.2F * patch + 0.35F * grain), 0.25F);
    for (int b = first[group]; b < first[group + 1]; ++b) s[b] *= factor;
  }
  return s;
}

Surface LandCover::at(const Facet& f) const {
  if (f.site.water_depth > 0) return {vary(water(f), f, 0.32F), false, true};
  float canopy = 0;
  const Spectrum land = vary(bare_land(f, canopy), f, 0.28F);
  const float extent = snow_score(f) - snow_line_;
  // The map's border is smoother than the snow's, which has holes and spots of some pixels.
  const float score = extent + 110 * fbm(f.x / 13, f.y / 13, seed_ + 10, 4, 0.6F);
  const bool drawn = extent > 0 && canopy < 0.6F;
  // Trees hide most of the snow below them.
  const float covered = smoothstep(-55, 55, score) * (1 - 0.7F * canopy);
  if (covered <= 0) return {land, drawn, false};
  return {blend(land, vary(snow(f, score), f, 0.10F), covered), drawn, false};
}

}  // namespace unetd::synth
