// Small pictures of large rasters: a class map in its colours, a map of values by the colour ramp,
// a scene stretched to what the eye can see, one over the other. A picture is a u8 tensor {1, h, w,
// 3 or 4}, RGB or RGBA with alpha 0 where there is no data.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/scene.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace unetd::io {

// The shape of an RGBA picture of a grid, with its long side at most `long_side`.
Shape picture_shape(const Grid& grid, int64_t long_side);

// RGBA of a class map (one u8 band with a colour table), the nearest pixel of each cell; its long
// side is at most `long_side`. Throws UserError if the file is no such map.
Tensor class_picture(const std::filesystem::path& map, int64_t long_side);

// RGBA of a map of values (one band of numbers) by the ramp of io/ramp.h from `low` to `high`; what
// lies beyond has the colours of its ends. A cell has the mean of its pixels with data, as the
// map's overviews have it, and is transparent where there are none. Its long side is at most
// `long_side`. Throws UserError if the file has several bands.
Tensor value_picture(const std::filesystem::path& map, double low, double high, int64_t long_side);

// RGBA of three bands, by name or by position from 1. None given: B04, B03, B02 if the scene has
// them, else its first three, or its first one in grey. Valid pixels are averaged over each cell
// and stretched from the 2nd to the 98th percentile of each band; a gamma above 1 then brightens
// the dark (land among clouds). Reads the scene once in strips (all its bands: open it with the
// three alone where reading is slow). Throws UsageError for a band the scene has not, or for a
// number of bands other than 1 or 3.
Tensor scene_picture(const Scene& scene, const std::vector<std::string>& bands, int64_t long_side,
                     double gamma = 1);

// `over` drawn on `base` (RGBA of one size) with the given opacity in [0, 1] where `over` has data.
Tensor overlay(const Tensor& base, const Tensor& over, double opacity);

// The bytes of a PNG file.
std::string png_bytes(const Tensor& picture);
// Throws UserError if `path` exists (without `overwrite`) or cannot be written.
void write_png(const std::filesystem::path& path, const Tensor& picture, bool overwrite);

}  // namespace unetd::io
