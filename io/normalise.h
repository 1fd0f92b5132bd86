// Normalisation: what turns stored samples into the numbers the network sees, y = (x - shift) *
// scale per band, clipped where the method says so. It is fitted on the training patches, travels
// in the checkpoint and is applied in the same way to every scene afterwards: on the device, by
// `normalised` of engine/tensor/patches.h. Pixels without data become 0 in all bands.
#pragma once

#include "engine/base/dtype.h"
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
  // percentile: the 1st becomes 0, the 99th 1, clipped to that.
  enum class Method : uint8_t { none, scale, zscore, percentile };

  Method method = Method::none;
  std::vector<double> shift, scale;                 // one per band
  std::optional<std::array<double, 2>> clip;        // of y
  std::vector<double> source_scale, source_offset;  // of the files it was fitted on: see for_scene

  // Throws UserError where a method needs statistics and the store has no valid training pixel.
  static Normalisation fit(Method method, DType dtype, std::span<const SceneBand> bands,
                           std::span<const BandStatistics> statistics);

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
