#include "tools/synth/scene.h"

#include "engine/base/rng.h"
#include "engine/base/threads.h"
#include "tools/synth/noise.h"
#include "tools/synth/sensor.h"

#include <algorithm>
#include <cmath>

namespace unetd::synth {
namespace {

constexpr float radians = 0.017453293F;
constexpr float pixel_metres = 10;

// Two-way transmission of the water vapour above `altitude` metres in the bands that it absorbs.
float vapour_transmission(int band, float altitude, float vapour) {
  const float depth = band == band_vapour ? 0.85F : band == band_cirrus ? 13.0F : 0.0F;
  return std::exp(-depth * vapour * std::exp(-altitude / 2000));
}

// Clouds drift well above the valleys but not far above the summits.
Clouds::Altitudes cloud_altitudes(const std::vector<float>& dem) {
  const float top = *std::max_element(dem.begin(), dem.end());
  const float low = *std::min_element(dem.begin(), dem.end());
  const float cumulus = mix(low, top, 0.75F) + 350;
  return {cumulus, cumulus + 250, 8000};
}

std::vector<float> elevations(const Terrain& terrain, int64_t size) {
  std::vector<float> dem(size * size);
  parallel_for(size, [&](int64_t y) {
    for (int64_t x = 0; x < size; ++x)
      dem[y * size + x] = terrain.at(static_cast<float>(x), static_cast<float>(y)).elevation;
  });
  return dem;
}

}  // namespace

Scene::Scene(const SynthOptions& o)
    : size_(o.size),
      seed_(o.seed),
      swath_edge_(o.swath_edge),
      sun_x_(std::sin(static_cast<float>(o.sun_azimuth) * radians) *
             std::cos(static_cast<float>(o.sun_elevation) * radians)),
      sun_y_(-std::cos(static_cast<float>(o.sun_azimuth) * radians) *
             std::cos(static_cast<float>(o.sun_elevation) * radians)),
      sun_up_(std::sin(static_cast<float>(o.sun_elevation) * radians)),
      run_(std::sqrt(1 - sun_up_ * sun_up_) / sun_up_ / pixel_metres),
      vapour_(Rng(o.seed, 5).uniform(0.3F, 1.1F)),
      sky_(clear_sky(o.sun_elevation)),
      terrain_(o.size, o.seed, o.water),
      cover_(terrain_, o.size, o.seed, o.snow),
      dem_(elevations(terrain_, o.size)),
      altitudes_(cloud_altitudes(dem_)),
      clouds_(o.size, o.seed, o.clouds, o.sun_azimuth, altitudes_) {
  cast_shadows();
}

// Walks away from the sun line by line and carries the height below which the land lies in shadow.
// The lines are rows or columns, whichever the sun crosses more steeply; between lines the beam
// moves sideways by a fraction of a pixel.
void Scene::cast_shadows() {
  lit_.assign(dem_.size(), 255);
  const bool rows = std::abs(sun_y_) >= std::abs(sun_x_);
  const int64_t along = rows ? 1 : size_, across = rows ? size_ : 1;
  const float major = rows ? sun_y_ : sun_x_, minor = rows ? sun_x_ : sun_y_;
  const float shift = minor / std::abs(major);  // pixels sideways toward the sun per line
  const float drop = std::hypot(1.0F, shift) / run_;
  std::vector<float> edge(size_, -1e6F), previous(size_);
  for (int64_t step = 0; step < size_; ++step) {
    const int64_t line = major > 0 ? size_ - 1 - step : step;
    std::swap(edge, previous);
    parallel_chunks(size_, 2048, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float from =
            std::clamp(static_cast<float>(i) + shift, 0.0F, static_cast<float>(size_ - 1));
        const auto left = std::min(static_cast<int64_t>(from), size_ - 2);
        const float height =
            step == 0
                ? -1e6F
                : mix(previous[left], previous[left + 1], from - static_cast<float>(left)) - drop;
        const int64_t at = line * across + i * along;
        lit_[at] = static_cast<uint8_t>(255 * (1 - smoothstep(0, 6, height - dem_[at])));
        edge[i] = std::max(height, dem_[at]);
      }
    });
  }
}

// Slopes from the finished surface, which is cheaper than asking the terrain five times.
Facet Scene::facet(int64_t x, int64_t y) const {
  Facet f{terrain_.at(static_cast<float>(x), static_cast<float>(y)), 0, 0, static_cast<float>(x),
          static_cast<float>(y)};
  if (f.site.water_depth > 0) return f;
  const int64_t west = std::max<int64_t>(x - 1, 0), east = std::min(x + 1, size_ - 1);
  const int64_t north = std::max<int64_t>(y - 1, 0), south = std::min(y + 1, size_ - 1);
  f.east = (dem_[y * size_ + east] - dem_[y * size_ + west]) /
           (pixel_metres * static_cast<float>(east - west));
  f.south = (dem_[south * size_ + x] - dem_[north * size_ + x]) /
            (pixel_metres * static_cast<float>(south - north));
  return f;
}

bool Scene::in_swath(int64_t x, int64_t y) const {
  return !swath_edge_ ||
         static_cast<double>(x) + 0.45 * static_cast<double>(y) >= 0.2 * static_cast<double>(size_);
}

float Scene::cloud_light(int64_t x, int64_t y) const {
  return clouds_.transmission(static_cast<float>(x), static_cast<float>(y), dem_[y * size_ + x],
                              run_);
}

// Direct light by the angle between slope and sun, sky light by how much of the sky the slope sees.
Spectrum Scene::lit_ground(const Facet& f, const Surface& surface) const {
  const float length = std::sqrt(1 + f.east * f.east + f.south * f.south);
  const float cosine = (sun_up_ - f.east * sun_x_ - f.south * sun_y_) / length;
  const auto x = static_cast<int64_t>(f.x), y = static_cast<int64_t>(f.y);
  const float clouds = cloud_light(x, y);
  const float direct = std::clamp(cosine / sun_up_, 0.0F, 1.9F) * terrain_light(x, y) * clouds;
  const float sky_view = 0.5F * (1 + 1 / length) * (0.8F + 0.2F * clouds);
  Spectrum seen{};
  for (int b = 0; b < bands; ++b)
    seen[b] =
        surface.reflectance[b] * ((1 - sky_.diffuse[b]) * direct + sky_.diffuse[b] * sky_view);
  return seen;
}

// Layers from low to high. A conservative two-stream cloud (asymmetry 0.85) reflects R, lets 1 - R
// through twice, and light bounces between it and bright ground.
void Scene::add_clouds(const CloudColumn& c, Spectrum& seen, float vapour) const {
  const Spectrum& small = reflectance(Cover::ice_cloud);
  const Spectrum& large = reflectance(Cover::coarse_snow);
  const auto layer = [&](float depth, float altitude, float shade, auto colour) {
    if (depth <= 0) return;
    const float r = 0.15F * depth / (2 + 0.15F * depth);
    for (int b = 0; b < bands; ++b) {
      const float above = vapour_transmission(b, altitude, vapour);
      const float below = std::min(seen[b], 1.0F);
      seen[b] =
          r * colour(b) / 0.8F * shade * above + below * (1 - r) * (1 - r) / (1 - 0.9F * r * below);
    }
  };
  const auto ice_colour = [&](int b) {
    return mix(small[b], std::min(large[b] + 0.02F, small[b]), std::clamp(c.grain, 0.0F, 0.8F));
  };
  layer(c.mist, 1000, 1, [](int b) { return reflectance(Cover::water_cloud)[b]; });
  layer(c.water, altitudes_.cumulus, c.shade,
        [](int b) { return reflectance(Cover::water_cloud)[b]; });
  layer(c.ice, altitudes_.ice, c.water > c.ice ? 1 : c.shade, ice_colour);
  layer(c.cirrus, altitudes_.cirrus, 1, [&](int b) { return small[b]; });
}

Scene::Pixel Scene::pixel(int64_t x, int64_t y) const {
  const Facet f = facet(x, y);
  const Surface surface = cover_.at(f);
  const CloudColumn column = clouds_.column(f.x, f.y);
  const float vapour =
      vapour_ * (1 + 0.6F * fbm(f.x / 250, f.y / 250, static_cast<uint32_t>(seed_) + 500, 3));
  Spectrum seen = lit_ground(f, surface);
  for (int b = 0; b < bands; ++b) seen[b] *= vapour_transmission(b, f.site.elevation, vapour);
  add_clouds(column, seen, vapour);
  for (int b = 0; b < bands; ++b)
    seen[b] = sky_.path[b] * vapour_transmission(b, 2500, vapour) + sky_.passing[b] * seen[b];
  const Label label = column.cloudy() ? Label::clouds
                      : surface.water ? Label::water
                      : surface.snow  ? Label::snow
                                      : Label::background;
  return {seen, label};
}

Strip Scene::render(int64_t row, int64_t rows) const {
  constexpr int64_t halo = sensor_reach;
  const int64_t seen_rows = rows + 2 * halo;
  std::vector<float> planes(bands * seen_rows * size_);
  Strip strip{row, rows, std::vector<uint16_t>(bands * rows * size_),
              std::vector<uint8_t>(rows * size_)};
  parallel_for(seen_rows, [&](int64_t r) {
    const int64_t y = std::clamp<int64_t>(row + r - halo, 0, size_ - 1);
    for (int64_t x = 0; x < size_; ++x) {
      const Pixel p = pixel(x, y);
      for (int b = 0; b < bands; ++b) planes[(b * seen_rows + r) * size_ + x] = p.reflectance[b];
      if (r >= halo && r < halo + rows)
        strip.labels[(r - halo) * size_ + x] =
            static_cast<uint8_t>(in_swath(x, y) ? p.label : Label::outside);
    }
  });
  parallel_for(bands, [&](int64_t b) {
    const std::span<float> plane(&planes[b * seen_rows * size_], seen_rows * size_);
    sense(static_cast<int>(b), {size_, row - halo, seen_rows}, static_cast<uint32_t>(seed_), plane);
    for (int64_t i = 0; i < rows * size_; ++i) {
      const float dn = plane[halo * size_ + i] * dn_per_reflectance + dn_offset;
      const bool outside = strip.labels[i] == static_cast<uint8_t>(Label::outside);
      strip.dn[b * rows * size_ + i] =
          outside ? 0 : static_cast<uint16_t>(std::clamp(dn + 0.5F, 1.0F, 65535.0F));
    }
  });
  return strip;
}

}  // namespace unetd::synth
