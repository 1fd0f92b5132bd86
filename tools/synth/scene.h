// A made-up scene as the sensor sees it: land, light and sky put together into top-of-atmosphere
// digital numbers, a band of rows at a time.
#pragma once

#include "tools/synth/clouds.h"
#include "tools/synth/spectra.h"
#include "tools/synth/surface.h"
#include "tools/synth/synth.h"
#include "tools/synth/terrain.h"

#include <cstdint>
#include <span>
#include <vector>

namespace unetd::synth {

// Digital numbers of an L1C product since processing baseline 04.00.
inline constexpr float dn_per_reflectance = 10000, dn_offset = 1000;

// Rows [row, row + rows) of the scene.
struct Strip {
  int64_t row = 0, rows = 0;
  std::vector<uint16_t> dn;     // (band, row, column); 0 outside the swath
  std::vector<uint8_t> labels;  // (row, column), Label
};

class Scene {
 public:
  // Makes the land and casts its shadows: 5 bytes a pixel stay in memory.
  explicit Scene(const SynthOptions& options);

  Strip render(int64_t row, int64_t rows) const;
  std::span<const float> dem() const { return dem_; }
  int64_t size() const { return size_; }
  // Share of direct light at a pixel that clouds (first) and mountains (second) let through.
  float cloud_light(int64_t x, int64_t y) const;
  float terrain_light(int64_t x, int64_t y) const { return lit_[y * size_ + x] / 255.0F; }

 private:
  struct Pixel {
    Spectrum reflectance;
    Label label;
  };
  void cast_shadows();
  Facet facet(int64_t x, int64_t y) const;
  bool in_swath(int64_t x, int64_t y) const;
  Spectrum lit_ground(const Facet& facet, const Surface& surface) const;
  void add_clouds(const CloudColumn& column, Spectrum& seen, float vapour) const;
  Pixel pixel(int64_t x, int64_t y) const;

  int64_t size_;
  uint64_t seed_;
  bool swath_edge_;
  float sun_x_, sun_y_, sun_up_;  // unit vector to the sun: pixels right, pixels down, up
  float run_;                     // pixels that a sunbeam runs per metre of climb
  float vapour_;                  // moisture of the air, 1 as in an average summer
  Atmosphere sky_;
  Terrain terrain_;
  LandCover cover_;
  std::vector<float> dem_;
  std::vector<uint8_t> lit_;
  Clouds::Altitudes altitudes_;
  Clouds clouds_;
};

}  // namespace unetd::synth
