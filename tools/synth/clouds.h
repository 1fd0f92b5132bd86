// The sky over the scene: fields of cumulus, sheets of ice cloud as bright as snow, thin veils of
// cirrus. Each is a function of position, so the light that reaches a spot on the ground is found
// by asking at the place where its sun beam crosses the layer.
#pragma once

#include <array>
#include <cstdint>

namespace unetd::synth {

struct CloudColumn {
  float water = 0;   // optical depth of liquid cloud
  float ice = 0;     // of the thick ice sheets
  float cirrus = 0;  // of the high veils
  float mist = 0;    // of haze in the valleys, too thin to count as cloud
  float shade = 1;   // how the top is lit: below 1 on its far side, above on the side to the sun
  float grain = 0;   // 0 small to 1 large ice crystals (darker in the short-wave infrared)

  bool gap = false;  // a hole inside the outline of a cumulus, which a mapper counts as cloud

  // What a careful mapper would draw as cloud.
  bool cloudy() const { return gap || water + ice + cirrus > 1; }
};

class Clouds {
 public:
  // Altitudes of the layers in metres.
  struct Altitudes {
    float cumulus, ice, cirrus;
  };

  // `share`: aim for the share of the scene under clouds. `sun_azimuth` in degrees.
  Clouds(int64_t scene_size, uint64_t seed, double share, double sun_azimuth, Altitudes altitudes);

  CloudColumn column(float x, float y) const;
  // Share of the direct light that reaches ground at `elevation` metres at pixel (x, y); the beam
  // climbs toward the sun by `run` pixels per metre.
  float transmission(float x, float y, float elevation, float run) const;

 private:
  float cumulus_outline(float x, float y) const;
  float cumulus(float x, float y) const;
  float ice(float x, float y) const;
  float cirrus(float x, float y) const;

  uint32_t seed_;
  float toward_sun_x_, toward_sun_y_;  // unit vector in pixels, y down
  Altitudes altitudes_;
  float cumulus_threshold_ = 0, ice_threshold_ = 0, cirrus_threshold_ = 0;
};

}  // namespace unetd::synth
