// Problems of blending: every symmetry, tiles that end beyond the band, rows that wrap around.
#pragma once

#include "engine/op/blend_tile.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

// The place follows from the extents, so that few problems meet all symmetries. Where the band is
// smaller than the tile turned back, the weights beyond it are 0.
inline Signature describe(const BlendTile& p) {
  const int turned = static_cast<int>((p.rows + 2 * p.columns) % 8);
  const bool transposed = (turned & symmetry::transpose) != 0;
  const int64_t height = transposed ? p.values.w : p.values.h;
  const int64_t width = transposed ? p.values.h : p.values.w;
  const int64_t column = std::max<int64_t>(p.columns - width, 0);
  std::vector<double> weights(static_cast<size_t>(2 * p.side()));
  for (int64_t i = 0; i < p.side(); ++i) {
    const double weight = 0.25 + 0.125 * static_cast<double>(i % 7);
    if (i < std::min(height, p.rows)) weights[static_cast<size_t>(i)] = weight;
    if (i < std::min(width, p.columns)) weights[static_cast<size_t>(p.side() + i)] = weight;
  }
  return {{{"values", p.values, Kind::features, p.dtype},
           {"weights", {1, 1, 2, p.side()}, Kind::dense, DType::f32, list(std::move(weights))},
           {"place", vector_shape(3), Kind::dense, DType::i32,
            list({static_cast<double>(p.rows - 1), static_cast<double>(column),
                  static_cast<double>(turned)})}},
          {{.name = "sums",
            .shape = p.sums(),
            .kind = Kind::dense,
            .dtype = wide_type(p.dtype),
            .in_place = true}}};
}

template <>
inline Cases<BlendTile> cases<BlendTile>() {
  Cases<BlendTile> all;
  for (const Shape& s : edge_shapes()) {
    for (int64_t more = 0; more < 8; ++more) {
      const int64_t side = std::max(s.h, s.w);
      all.test.push_back({.values = s, .rows = side + more, .columns = side + more / 3});
    }
  }
  all.test.push_back({.values = {1, 6, 6, 3}, .rows = 4, .columns = 5});  // ends beyond the band
  all.test.push_back({.values = {2, 6, 4, 16}, .rows = 3, .columns = 2});
  for (const Shape& s : net_logits()) {
    all.perf.push_back({.values = s, .rows = s.h, .columns = 8 * s.w});  // a wide map: no symmetry
  }
  return all;
}

}  // namespace unetd
