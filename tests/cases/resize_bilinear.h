// Problems of bilinear resizing: whole images in both conventions, and windows of a scene.
#pragma once

#include "engine/op/resize_bilinear.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline Signature describe(const ResizeBilinear& p) {
  const ResizeGeometry& g = p.geometry;
  Signature s{{{"x", g.x, Kind::features, p.dtype}},
              {{.name = "y", .shape = g.y(), .dtype = p.dtype, .reduction = 4}}};
  if (g.windowed()) {  // somewhere inside the scene
    const int64_t row = (g.scene_h - g.x.h) / 2 * g.cell, column = (g.scene_w - g.x.w) / 3 * g.cell;
    s.in.push_back({"origin", vector_shape(2), Kind::dense, DType::i32,
                    list({static_cast<double>(row), static_cast<double>(column)})});
  }
  return s;
}

inline Signature describe(const ResizeBilinearGrad& p) {
  const ResizeGeometry& g = p.geometry;
  return {{{"dy", g.y(), Kind::features, p.dtype}},
          {{.name = "dx", .shape = g.x, .dtype = p.dtype, .reduction = 16}}};
}

template <class P>
Cases<P> resize_cases() {
  Cases<P> all;
  std::vector<Shape> shapes = edge_shapes();
  shapes.push_back({1, 3200, 1, 1});  // so many rows that a GPU takes several at once
  for (const bool align_corners : {true, false}) {
    for (const Shape& s : shapes) {
      all.test.push_back({.geometry = ResizeGeometry::twice(s, align_corners)});
    }
    const auto resized = [&](const Shape& s, int64_t h, int64_t w) {
      all.test.push_back(
          {.geometry = {.x = s, .out_h = h, .out_w = w, .align_corners = align_corners}});
    };
    resized({1, 4, 6, 3}, 5, 7);  // one row and column more, as an odd skip connection has
    resized({2, 2, 8, 16}, 3, 9);
    resized({1, 7, 5, 17}, 3, 10);  // one axis shrinks
    resized({1, 9, 4, 33}, 1, 1);
    resized({1, 1, 1, 13}, 2, 1);
    resized({1, 31, 31, 16}, 61, 47);
  }
  for (const Shape& s : net_levels(1, net_depth)) {
    all.perf.push_back({.geometry = ResizeGeometry::twice(s, /*align_corners=*/true)});
  }
  return all;
}
template <>
inline Cases<ResizeBilinear> cases<ResizeBilinear>() {
  Cases<ResizeBilinear> all = resize_cases<ResizeBilinear>();
  for (const bool align_corners : {true, false}) {
    const auto doubled = [&](const Shape& s, int64_t scene_h, int64_t scene_w, int64_t cell) {
      ResizeGeometry g = ResizeGeometry::twice(s, align_corners);
      g.scene_h = scene_h;
      g.scene_w = scene_w;
      g.scene_out_h = 2 * scene_h;
      g.scene_out_w = 2 * scene_w;
      g.cell = cell;
      g.out_cell = cell / 2;
      all.test.push_back({.geometry = g});
    };
    doubled({1, 6, 5, 3}, 40, 50, 4);
    doubled({1, 8, 8, 32}, 8, 8, 16);
    doubled({2, 1, 4, 16}, 7, 1000, 2);
    // A tile inside a scene that grows by a row, and one at its right end.
    all.test.push_back({.geometry = {.x = {1, 8, 6, 3},
                                     .out_h = 8,
                                     .out_w = 7,
                                     .align_corners = align_corners,
                                     .scene_h = 40,
                                     .scene_w = 8,
                                     .scene_out_h = 41,
                                     .scene_out_w = 9,
                                     .cell = 2,
                                     .out_cell = 2}});
  }
  return all;
}
template <>
inline Cases<ResizeBilinearGrad> cases<ResizeBilinearGrad>() {
  return resize_cases<ResizeBilinearGrad>();
}

}  // namespace unetd
