// Runs a function over the tiles of a plan and joins what it returns into one map. Memory is
// bounded by the tile, not by the scene: exact cores are handed on as they come, blended tiles are
// summed in a band of rows as high as one tile. The next tile is read while this one is computed.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/scene.h"
#include "io/tile_plan.h"

#include <cstdint>
#include <functional>

namespace unetd::io {

// A window's image {1, h, w, bands} and validity {1, h, w, 1} u8; padded where it leaves the scene.
using ReadWindow = std::function<Raster(const Window& window)>;

// image and validity as read -> f32 logits or probabilities {1, h, w, classes} of the same window.
using Predict =
    std::function<Tensor(const Tensor& image, const Tensor& valid, const Window& window)>;

// Takes a finished part of the map: f32 values {1, h, w, classes} and validity {1, h, w, 1} u8.
// Parts are disjoint. Pixels it never gets are nodata.
using MapSink =
    std::function<void(const Window& window, const Tensor& values, const Tensor& valid)>;

// Tiles done, skipped ones included, of all. May throw to stop the work.
using Progress = std::function<void(int64_t done, int64_t total)>;

// Tiles without a valid pixel to write are not predicted. `predict` and `sink` run on the calling
// thread, `read` on another, one call at a time. What any of them throws is rethrown here.
// The result does not depend on timing.
void stitch(const ReadWindow& read, const TilePlan& plan, const Predict& predict,
            const MapSink& sink, const Progress& progress = {});

// The same for a scene, which must not be used by `predict` or `sink` meanwhile. Throws Error if
// the plan is for another size.
void stitch(const Scene& scene, const TilePlan& plan, const Predict& predict, const MapSink& sink,
            const Progress& progress = {});

}  // namespace unetd::io
