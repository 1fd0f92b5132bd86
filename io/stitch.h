// Has the tiles of a plan computed and joins what comes of them into one map. Memory is bounded by
// the tile, not by the scene: exact cores are handed on as they come, blended tiles are summed,
// where they are computed, in a band of rows as high as one tile. The next tile is read while this
// one is computed.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/scene.h"
#include "io/tile_plan.h"

#include <cstdint>
#include <functional>

namespace unetd::io {

// A window's image {1, h, w, bands} and validity {1, h, w, 1} u8; padded or mirrored where it
// leaves the scene.
using ReadWindow = std::function<Raster(const Window& window)>;

// Computes a map tile by tile, on a device that the values of a tile need not leave, and hands out
// what is finished: f32 values {1, h, w, outputs}, or classes u8 {1, h, w, 1}.
class MapSource {
 public:
  MapSource() = default;
  MapSource(const MapSource&) = delete;
  MapSource& operator=(const MapSource&) = delete;
  virtual ~MapSource() = default;

  // Computes tile `tile` of the plan from image and validity of its window, as they were read. In a
  // blended plan it adds the tile to those it overlaps, under the plan's weights.
  virtual void add(const Tensor& image, const Tensor& valid, int64_t tile) = 0;
  // A part of the map that no tile adds to any more: what the last tile writes, or, in a blended
  // plan, whole rows of the map, from top to bottom.
  virtual Tensor take(const Window& part) = 0;
};

// Takes a finished part of the map as the source gave it, and validity {1, h, w, 1} u8. Parts are
// disjoint. Pixels it never gets are nodata.
using MapSink =
    std::function<void(const Window& window, const Tensor& values, const Tensor& valid)>;

// Tiles done, skipped ones included, of all. May throw to stop the work.
using Progress = std::function<void(int64_t done, int64_t total)>;

// Tiles without a valid pixel to write are not computed. `source` and `sink` run on the calling
// thread, `read` on another, one call at a time. What any of them throws is rethrown here.
// The result does not depend on timing.
void stitch(const ReadWindow& read, const TilePlan& plan, MapSource& source, const MapSink& sink,
            const Progress& progress = {});

// The same for a scene, which must not be used by `source` or `sink` meanwhile. Throws Error if
// the plan is for another size.
void stitch(const Scene& scene, const TilePlan& plan, MapSource& source, const MapSink& sink,
            const Progress& progress = {});

// The part of an image of window `from` that lies in `part`. Throws Error if not all of it does.
Tensor crop(const Tensor& image, const Window& from, const Window& part);

}  // namespace unetd::io
