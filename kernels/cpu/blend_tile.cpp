// Weighted sums of tiles, memory bound: a task has one row of the band and reads the tile's pixels
// in their order there.
#include "engine/op/blend_tile.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#include <algorithm>

namespace unetd::UNETD_ISA {
namespace {

// Row y of the tile turned back, of sample n: where its pixels lie in `values`, in blocks of 16
// channels, and how far it is from one to the next.
struct Line {
  int64_t first, step, length;
};
Line line_of(const Shape& s, int turned, int64_t n, int64_t y) {
  const bool mirror_rows = (turned & symmetry::rows) != 0,
             mirror_columns = (turned & symmetry::columns) != 0;
  const int64_t image = n * blocks(s.c) * s.h * s.w;
  if ((turned & symmetry::transpose) != 0) {
    const int64_t w = mirror_columns ? s.w - 1 - y : y, h = mirror_rows ? s.h - 1 : 0;
    return {image + h * s.w + w, mirror_rows ? -s.w : s.w, s.h};
  }
  const int64_t h = mirror_rows ? s.h - 1 - y : y, w = mirror_columns ? s.w - 1 : 0;
  return {image + h * s.w + w, mirror_columns ? -1 : 1, s.w};
}

void blend_tile(const BlendTile& p, const BlendTile::Buffers& b) {
  const Shape& s = p.values;
  const TilePlace to = *b.place;
  const int64_t height = (to.symmetry & symmetry::transpose) != 0 ? s.w : s.h;
  const int64_t plane = s.h * s.w;
  parallel_for(s.n * height, [&](int64_t task) {
    const int64_t n = task / height, y = task % height;
    if (b.weights[y] == 0) return;
    const Line line = line_of(s, to.symmetry, n, y);
    const float* value = static_cast<const float*>(b.values) + line.first * block;
    float* sum = static_cast<float*>(b.sums) +
                 ((n * p.rows + (to.row + y) % p.rows) * p.columns + to.column) * s.c;
    for (int64_t x = 0; x < line.length; ++x, value += line.step * block, sum += s.c) {
      const float weight = b.weights[y] * b.weights[p.side() + x];
      if (weight == 0) continue;
      for (int64_t first = 0; first < s.c; first += block) {
        const float* const from = value + first * plane;
        const int64_t channels = std::min(s.c - first, block);
        for (int64_t c = 0; c < channels; ++c) sum[first + c] += weight * from[c];
      }
    }
  });
}

}  // namespace

void register_blend_tile() {
  add_function<blend_tile, BlendTile>(DeviceType::cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
