// Where the tiles of a scene lie: which window the network reads for each, and which pixels of the
// map it writes. Pure geometry, no files. A plan is a grid, so it is kept per axis: columns x rows.
// Few distinct window sizes matter, because the network needs one planned session for each.
#pragma once

#include "io/grid.h"

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace unetd::io {

// One tile along one axis, in pixels of the scene.
struct TileSpan {
  int64_t read_begin = 0, read_end = 0;    // what the network sees; may end beyond the scene
  int64_t write_begin = 0, write_end = 0;  // what the tile writes, inside the scene
  // One weight per written pixel: along the axis those of all tiles sum to 1. Empty: the tile alone
  // writes these pixels.
  std::vector<float> weights;

  int64_t read_size() const { return read_end - read_begin; }
  int64_t write_size() const { return write_end - write_begin; }
};

// Tiles are numbered along rows: tile i is (columns[i % columns.size()], rows[i / columns.size()]).
struct TilePlan {
  std::vector<TileSpan> columns, rows;
  // Windows leave the scene on all sides, and the scene goes on there as its mirror image.
  bool mirrored = false;

  int64_t count() const { return static_cast<int64_t>(columns.size() * rows.size()); }
  const TileSpan& column(int64_t tile) const;
  const TileSpan& row(int64_t tile) const;
  Window read_window(int64_t tile) const;
  Window write_window(int64_t tile) const;
  bool blended() const { return !columns.empty() && !columns.front().weights.empty(); }
};

// Tiles that write disjoint cores and read `halo` pixels more on every side where the scene goes
// on. A map stitched from them equals the network's output for the whole scene if `halo` is at
// least the receptive field's radius:
//   - every window starts at a multiple of `stride` (the network's total down-sampling), so pooling
//     cells fall as they do in the whole scene; it ends at such a multiple or where the scene ends;
//   - zero padding inside the scene reaches no written pixel.
// A core away from the scene's border has at most `tile` pixels (rounded up to the stride) a side;
// a core at the border includes what would be its halo. Windows are evenly sized: the fewest of at
// most tile + 2 halo, then as small as that number allows. Sizes: one per axis, plus one for the
// last window where the scene is no multiple of the stride. Throws UsageError if tile or stride < 1
// or halo < 0, Error for an empty scene.
TilePlan plan_exact(int64_t width, int64_t height, int64_t tile, int64_t halo, int64_t stride);

enum class BlendWindow : uint8_t { hann, triangular, gaussian };
// Throws UsageError for any other name.
BlendWindow parse_blend_window(std::string_view name);

// Evenly spread tiles of one size (`tile` rounded up to the stride) of which neighbours share at
// least the fraction `overlap`, in [0, 0.9], of it; weighted by `window`, which is strictly
// positive and does not fall towards the scene's borders. The last tile ends where the scene ends;
// only a scene smaller than a tile is read beyond its end (the reader pads). Throws UsageError for
// arguments out of range, Error for an empty scene.
TilePlan plan_blend(int64_t width, int64_t height, int64_t tile, double overlap, int64_t stride,
                    BlendWindow window);

// The plan's tiles for a network whose output is smaller than its input: each reads `margin` pixels
// more on every side, and behind it what makes the window `side(size)` pixels long, where `size` is
// a multiple of the stride that was enough for a tile without margin. Made of an exact plan without
// halo, the map equals that of one pass over the mirrored scene: windows lie at multiples of the
// stride to each other.
struct Surroundings {
  int64_t margin = 0, stride = 1;
  std::function<int64_t(int64_t size)> side;
};
TilePlan with_surroundings(TilePlan plan, const Surroundings& around);

}  // namespace unetd::io
