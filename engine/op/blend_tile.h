// Sums tiles that overlap, and tiles that were turned, under weights.
#pragma once

#include "engine/op/registry.h"

#include <algorithm>

namespace unetd {

// The eight symmetries of the square, as bits: turning transposes first, then mirrors.
namespace symmetry {
inline constexpr int columns = 1, rows = 2, transpose = 4;
}

// Where a tile goes, and how it was turned before the network saw it. It changes from tile to tile,
// so it lies in memory.
struct TilePlace {
  int32_t row = 0, column = 0;  // of its first pixel in the band
  int32_t symmetry = 0;
};

// sums(n, (row + y) mod rows, column + x, k) += weights[0][y] * weights[1][x] * value
//
// in place, for every pixel (y, x) of the tile turned back; `value` is the k-th of that pixel,
// which the turned tile has elsewhere. Pixels of weight 0 are left out, and may lie outside the
// band; at most `rows` rows of the tile have another weight.
//
// values: (n, h, w, c). sums: dense, of wide_type(dtype), (n, band rows, band columns, c): a ring
// of rows, so that a band moves down a map without being moved in memory. weights: dense f32
// (1, 1, 2, side()), those of the rows before those of the columns. place: a TilePlace.
struct BlendTile {
  static constexpr const char* name = "blend_tile";
  Shape values;
  int64_t rows = 0, columns = 0;  // of the band
  DType dtype = DType::f32;

  bool operator==(const BlendTile&) const = default;
  constexpr Shape sums() const { return {values.n, rows, columns, values.c}; }
  // A turned tile has its height for a width: there is room for either.
  constexpr int64_t side() const { return std::max(values.h, values.w); }
  struct Buffers {
    const void* values;
    const float* weights;
    const TilePlace* place;
    void* sums;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const float*>(in[1]), static_cast<const TilePlace*>(in[2]), out[0]};
  }
};

}  // namespace unetd
