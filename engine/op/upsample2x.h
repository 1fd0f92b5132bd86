// Bilinear up-sampling by two, with either convention for where the corners lie.
//
// Output pixel i takes from source position
//   align_corners:  i * (h - 1) / (2h - 1)             (corner centres coincide)
//   otherwise:      max(0, (i + 0.5) / 2 - 0.5)         (corner edges coincide)
// interpolated linearly between the two neighbours, the upper one clamped to the image.
//
// With aligned corners the position depends on the size of the whole image, so a tile of a scene
// must know that size and its own place: `Window`. Then a tile is up-sampled exactly as the scene
// would be.
#pragma once

#include "engine/base/host_device.h"
#include "engine/op/registry.h"

namespace unetd {

struct UpsampleGeometry {
  Shape x;
  bool align_corners = true;
  // When `scene_h` is not 0, x is the part of an image of scene_h x scene_w pixels that begins at
  // (origin[0], origin[1]) / cell, where `origin` is an i32 buffer given at run time in pixels of
  // the network's input and `cell` is how many of those one pixel of x spans.
  int64_t scene_h = 0, scene_w = 0, cell = 1;

  bool operator==(const UpsampleGeometry&) const = default;
  constexpr bool windowed() const { return scene_h != 0; }
  constexpr Shape y() const { return {x.n, 2 * x.h, 2 * x.w, x.c}; }
};

struct Upsample2x {
  static constexpr const char* name = "upsample2x";
  UpsampleGeometry geometry;
  DType dtype = DType::f32;

  bool operator==(const Upsample2x&) const = default;
  struct Buffers {
    const void* x;
    const int32_t* origin;  // (y, x) of the tile, or null
    void* y;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], geometry.windowed() ? static_cast<const int32_t*>(in[1]) : nullptr, out[0]};
  }
};

// dx: each source pixel gathers from the outputs that it contributed to. Whole images only.
struct Upsample2xGrad {
  static constexpr const char* name = "upsample2x_grad";
  UpsampleGeometry geometry;
  DType dtype = DType::f32;

  bool operator==(const Upsample2xGrad&) const = default;
  struct Buffers {
    const void* dy;
    void* dx;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0]}; }
};

// Where output index i of a line reads: rows `low` and `high` with weight `t` on the second. Shared
// by every implementation and by both directions, so that they cannot disagree.
struct LinearTap {
  int64_t low, high;
  double t;
};
UNETD_HOST_DEVICE constexpr LinearTap upsample_tap(int64_t i, int64_t size, int64_t origin,
                                                   int64_t scene, bool align_corners) {
  const int64_t whole = scene == 0 ? size : scene;
  const int64_t global = i + 2 * origin;
  double position = 0;
  if (align_corners) {
    position = whole == 1
                   ? 0.0
                   : static_cast<double>(global * (whole - 1)) / static_cast<double>(2 * whole - 1);
  } else {
    position = (static_cast<double>(global) + 0.5) / 2 - 0.5;
    if (position < 0) position = 0;
  }
  const int64_t floor = static_cast<int64_t>(position);
  const double t = position - static_cast<double>(floor);
  // A tile's rim may ask for a pixel beyond it; the halo makes those outputs irrelevant.
  const auto local = [&](int64_t g) {
    const int64_t inside = (g < whole ? g : whole - 1) - origin;
    return inside < 0 ? 0 : inside < size ? inside : size - 1;
  };
  return {local(floor), local(floor + 1), t};
}

}  // namespace unetd
