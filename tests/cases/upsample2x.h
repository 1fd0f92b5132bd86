// Problems of bilinear up-sampling: whole images in both conventions, and windows of a scene.
#pragma once

#include "engine/op/upsample2x.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline Signature describe(const Upsample2x& p) {
  const UpsampleGeometry& g = p.geometry;
  Signature s{{{"x", g.x, Kind::features, p.dtype}},
              {{.name = "y", .shape = g.y(), .dtype = p.dtype, .reduction = 4}}};
  if (g.windowed()) {  // somewhere inside the scene
    const int64_t row = (g.scene_h - g.x.h) / 2 * g.cell, column = (g.scene_w - g.x.w) / 3 * g.cell;
    s.in.push_back({"origin", vector_shape(2), Kind::dense, DType::i32,
                    list({static_cast<double>(row), static_cast<double>(column)})});
  }
  return s;
}

inline Signature describe(const Upsample2xGrad& p) {
  const UpsampleGeometry& g = p.geometry;
  return {{{"dy", g.y(), Kind::features, p.dtype}},
          {{.name = "dx", .shape = g.x, .dtype = p.dtype, .reduction = 16}}};
}

template <class P>
Cases<P> upsample_cases() {
  Cases<P> all;
  std::vector<Shape> shapes = edge_shapes();
  shapes.push_back({1, 3200, 1, 1});  // so many rows that a GPU takes several at once
  for (const bool align_corners : {true, false}) {
    for (const Shape& s : shapes) {
      all.test.push_back({.geometry = {.x = s, .align_corners = align_corners}});
    }
  }
  for (const Shape& s : net_levels(1, net_depth)) all.perf.push_back({.geometry = {.x = s}});
  return all;
}
template <>
inline Cases<Upsample2x> cases<Upsample2x>() {
  Cases<Upsample2x> all = upsample_cases<Upsample2x>();
  for (const bool align_corners : {true, false}) {
    all.test.push_back({.geometry = {{1, 6, 5, 3}, align_corners, 40, 50, 4}});
    all.test.push_back({.geometry = {{1, 8, 8, 32}, align_corners, 8, 8, 16}});
    all.test.push_back({.geometry = {{2, 1, 4, 16}, align_corners, 7, 1000, 2}});
  }
  return all;
}
template <>
inline Cases<Upsample2xGrad> cases<Upsample2xGrad>() {
  return upsample_cases<Upsample2xGrad>();
}

}  // namespace unetd
