#include "engine/op/blend_tile.h"

#include "kernels/ref/ref.h"

namespace unetd::ref {
namespace {

void blend_tile(const BlendTile& p, const BlendTile::Buffers& b) {
  const TilePlace to = *b.place;
  const bool columns = (to.symmetry & symmetry::columns) != 0,
             rows = (to.symmetry & symmetry::rows) != 0,
             transposed = (to.symmetry & symmetry::transpose) != 0;
  const Shape& s = p.values;
  const int64_t height = transposed ? s.w : s.h, width = transposed ? s.h : s.w;
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> values(b.values, s);
    const View<T, Kind::dense> sums(b.sums, p.sums());
    for_each_row({s.n, height, width, s.c}, [&](int64_t n, int64_t y) {
      for (int64_t x = 0; x < width; ++x) {
        const T weight = T{b.weights[y]} * b.weights[p.side() + x];
        if (weight == 0) continue;
        const int64_t down = transposed ? x : y, across = transposed ? y : x;
        const int64_t h = rows ? s.h - 1 - down : down, w = columns ? s.w - 1 - across : across;
        for (int64_t c = 0; c < s.c; ++c) {
          sums(n, (to.row + y) % p.rows, to.column + x, c) += weight * values(n, h, w, c);
        }
      }
    });
  });
}

}  // namespace

void register_blend_tile() { add<blend_tile, BlendTile>(); }

}  // namespace unetd::ref
