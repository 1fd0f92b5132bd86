// Pictures of patches for people: samples stretched to what the eye can see, labels in the colours
// of their classes, and where two of these differ. A picture is a u8 tensor {1, h, w, 4}, RGBA with
// alpha 0 where there is no data.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/labels.h"
#include "io/patch_store.h"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace unetd::io {

// Positions of the bands for red, green and blue.
using BandTriple = std::array<int, 3>;

// As the eye sees it: B04, B03, B02 if these are there, else the first three bands, or the first
// one in grey.
BandTriple true_colour(std::span<const SceneBand> bands);
// The usual false colours of Sentinel-2 in which plants are red: near infrared (B08 or B8A), B04,
// B03.
std::optional<BandTriple> false_colour(std::span<const SceneBand> bands);

// The valid pixels of a patch, each band stretched from the 2nd to the 98th percentile that the
// store's statistics give, and brightened where the store is mostly dark: the same for all patches.
Tensor patch_picture(const StoreSchema& schema, const PatchView& view, BandTriple bands);
// A square of pixels, each of the colour that `color` gives it, if any.
using Color = std::optional<std::array<uint8_t, 3>>;
Tensor painted_picture(size_t pixels, const std::function<Color(size_t pixel)>& color);
// Square labels in the colours of their classes; 255 is no data.
Tensor label_picture(std::span<const uint8_t> labels, std::span<const ClassInfo> classes);
// Light grey where prediction and truth agree, red where they differ; no data where the truth is
// 255.
Tensor difference_picture(std::span<const uint8_t> truth, std::span<const uint8_t> prediction);

// The same colours for a map of differences: {agree, differ}.
inline constexpr std::array<std::array<uint8_t, 3>, 2> difference_colors = {
    {{230, 230, 230}, {200, 40, 40}}};

}  // namespace unetd::io
