// What covers the land of a made-up scene, and whether it counts as snow or water: forest, meadows
// and fields, rock, gravel, villages, snow by height, aspect and slope, lakes and rivers.
#pragma once

#include "tools/synth/spectra.h"
#include "tools/synth/terrain.h"

#include <cstdint>

namespace unetd::synth {

// A site with the lie of the land around it.
struct Facet {
  Site site;
  float east = 0, south = 0;  // rise in metres per metre toward east and south; 0 on water
  float x = 0, y = 0;         // pixel coordinates
};
Facet facet_at(const Terrain& terrain, float x, float y);

struct Surface {
  Spectrum reflectance;
  bool snow = false, water = false;
};

class LandCover {
 public:
  // `snow_share`: aim for the share of the scene under snow, clouds taken away.
  LandCover(const Terrain& terrain, int64_t scene_size, uint64_t seed, double snow_share);
  Surface at(const Facet& facet) const;

 private:
  // Metres above the local snow line of a scene whose snow line is at 0.
  float snow_score(const Facet& facet) const;
  Spectrum bare_land(const Facet& facet, float& canopy) const;
  Spectrum field(const Facet& facet) const;
  Spectrum rock(const Facet& facet) const;
  Spectrum snow(const Facet& facet, float score) const;
  Spectrum water(const Facet& facet) const;
  Spectrum vary(Spectrum s, const Facet& facet, float amount) const;

  uint32_t seed_;
  float snow_line_ = 0, tree_line_ = 0, valley_ = 0;  // metres
};

}  // namespace unetd::synth
