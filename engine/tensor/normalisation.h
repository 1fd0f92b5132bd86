// The ways to normalise bands by name: who reads settings and who reads stores mean the same by
// them. io/normalise.h says what each does.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace unetd {

enum class NormalisationMethod : uint8_t {
  none,
  scale,
  zscore,
  percentile,
  dynamic_world,
  sigma_clip,
  legacy
};
inline constexpr std::array<std::string_view, 7> normalisation_methods = {
    "none", "scale", "zscore", "percentile", "dynamic_world", "sigma_clip", "legacy"};

// Where dynamic_world's percentiles and means come from.
enum class NormalisationConstants : uint8_t { store, sentinel2 };
inline constexpr std::array<std::string_view, 2> normalisation_constants = {"store", "sentinel2"};

}  // namespace unetd
