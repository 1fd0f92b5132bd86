// Reflectance of what Sentinel-2 looks at, and the clear atmosphere between, in the 13 bands of
// MSI.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace unetd::synth {

inline constexpr int bands = 13;
using Spectrum = std::array<float, bands>;

// In the order of an L1C product.
inline constexpr std::array<std::string_view, bands> band_names = {
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"};
inline constexpr std::array<int, bands> native_metres = {60, 10, 10, 10, 20, 20, 20,
                                                         10, 20, 60, 60, 20, 20};
inline constexpr int band_vapour = 9, band_cirrus = 10;  // B09 and B10

enum class Cover : uint8_t {
  fine_snow,
  coarse_snow,
  dirty_snow,
  clear_water,
  turbid_water,
  conifer,
  broadleaf,
  grass,
  dry_grass,
  soil,
  limestone,
  granite,
  gravel,
  wet_soil,
  water_cloud,
  ice_cloud,
  count
};
// Hemispherical reflectance at the ground (clouds: of an optically thick one at its top).
const Spectrum& reflectance(Cover cover);

// The clear sky seen from above, for a sun at `sun_elevation` degrees.
struct Atmosphere {
  Spectrum path;     // reflectance of the air itself
  Spectrum diffuse;  // share of the light on flat ground that comes from the sky
  Spectrum passing;  // two-way transmission without water vapour
};
Atmosphere clear_sky(double sun_elevation);

}  // namespace unetd::synth
