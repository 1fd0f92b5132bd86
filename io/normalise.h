// Normalisation: what turns stored samples into the numbers the network sees, per band y = (x -
// shift) * scale, clipped where the method says so, or a curve over that. It is fitted on the
// training patches, travels in the checkpoint and is applied in the same way to every scene
// afterwards: on the device, by `normalised` of engine/tensor/patches.h. Pixels without data become
// 0 in all bands.
#pragma once

#include "engine/base/dtype.h"
#include "engine/tensor/normalisation.h"
#include "engine/tensor/patches.h"
#include "io/scene.h"
#include "io/statistics.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace unetd::io {

struct Normalisation {
  // none: as stored. scale: physical value (offset and scale of the file), or / 10000 for 16-bit
  // and / 255 for 8-bit samples of a file that gives no scale. zscore: mean 0, deviation 1.
  // percentile: the 1st becomes 0, the 99th 1, clipped to that. sigma_clip: two deviations below
  // and above the mean, but no less than physical 0 nor more than 65535, become 0 and 255, clipped
  // to that. legacy: stored reflectance / 10000, however large. dynamic_world: the logarithm of
  // reflectance x 10000 through a sigmoid that takes the 30th percentile to 0.15 and the 70th to
  // 0.85, less what the mean becomes; within (-1, 1).
  using Method = NormalisationMethod;
  // What dynamic_world's percentiles and means are: the store's, or fixed ones of Sentinel-2's 13
  // bands, which are the same for every scene. A band named DEM then becomes (z - 1862.78) / 3913,
  // bands of other names are normalised by zscore.
  using Constants = NormalisationConstants;

  Method method = Method::none;
  std::vector<double> shift, scale;  // one per band
  // Of curves, sigmoid(slope * log10(v) + intercept) - centre: one per band, 0 for lines; or empty.
  std::vector<double> slope, intercept, centre;
  std::optional<std::array<double, 2>> clip;        // of y
  std::vector<double> source_scale, source_offset;  // of the files it was fitted on: see for_scene

  // Throws UserError where a method needs statistics and the store has no valid training pixel.
  static Normalisation fit(Method method, DType dtype, std::span<const SceneBand> bands,
                           std::span<const BandStatistics> statistics,
                           Constants constants = Constants::store);

  // The same function of the physical values for files of another scale and offset: two products of
  // one sensor may store the same reflectance as different numbers.
  Normalisation for_scene(std::span<const SceneBand> bands) const;

  // What the device needs, one a band.
  std::vector<BandConstants> constants() const;

  int64_t bands() const { return static_cast<int64_t>(shift.size()); }
  std::string to_json() const;
  // Throws UserError for a text that to_json did not write.
  static Normalisation from_json(const std::string& text);
  bool operator==(const Normalisation&) const = default;
};

// Throws UsageError for an unknown name.
Normalisation::Method parse_normalisation(const std::string& name);
std::string name_of(Normalisation::Method method);

}  // namespace unetd::io
