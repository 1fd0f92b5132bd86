// Bilinear interpolation to another size, with either convention for where the corners lie.
//
// Of `in` pixels along an axis, output pixel i of `out` takes from position
//   align_corners:  i * (in - 1) / (out - 1)               (corner centres coincide)
//   otherwise:      max(0, (i + 0.5) * in / out - 0.5)     (corner edges coincide)
// interpolated linearly between the two neighbours, the upper one clamped to the image. An axis may
// shrink, without a filter, and grow to twice its size.
//
// The position depends on the size of the whole image, so a tile of a scene must know that size and
// its own place. Then a tile is resized exactly as the scene would be.
#pragma once

#include "engine/base/host_device.h"
#include "engine/op/registry.h"

namespace unetd {

// One axis of an image, or of a part of it that begins at origin_in and is resized to the part of
// the result that begins at origin_out.
struct ResizeAxis {
  int64_t in, out;  // of the part
  int64_t whole;    // of the image
  // Of positions from one output pixel to the next, and its inverse, or 0 for both.
  double step, density;
  int64_t origin_in = 0, origin_out = 0;
  bool align_corners = true;

  // A whole image's.
  UNETD_HOST_DEVICE static constexpr ResizeAxis of(int64_t in, int64_t out, bool align_corners) {
    const auto from = static_cast<double>(align_corners ? in - 1 : in);
    const auto to = static_cast<double>(align_corners ? out - 1 : out);
    const bool moves = from > 0 && to > 0;
    return {in, out, in, moves ? from / to : 0, moves ? to / from : 0, 0, 0, align_corners};
  }
};

struct ResizeGeometry {
  Shape x;
  int64_t out_h = 0, out_w = 0;
  bool align_corners = true;
  // Where scene_h is not 0, x is a part of an image of scene_h x scene_w pixels that is resized to
  // scene_out_h x scene_out_w. It begins at origin / cell and its result at origin / out_cell,
  // where `origin` is an i32 buffer (y, x) given at run time in pixels of the network's input and
  // the cells are how many of those one pixel spans.
  int64_t scene_h = 0, scene_w = 0, scene_out_h = 0, scene_out_w = 0;
  int64_t cell = 1, out_cell = 1;

  bool operator==(const ResizeGeometry&) const = default;
  static constexpr ResizeGeometry twice(const Shape& x, bool align_corners) {
    return {.x = x, .out_h = 2 * x.h, .out_w = 2 * x.w, .align_corners = align_corners};
  }
  constexpr bool windowed() const { return scene_h != 0; }
  constexpr Shape y() const { return {x.n, out_h, out_w, x.c}; }
  UNETD_HOST_DEVICE constexpr ResizeAxis rows() const {
    return ResizeAxis::of(x.h, out_h, align_corners);
  }
  UNETD_HOST_DEVICE constexpr ResizeAxis columns() const {
    return ResizeAxis::of(x.w, out_w, align_corners);
  }
  // Of the part at `origin`, or of the whole image if that is null.
  UNETD_HOST_DEVICE constexpr ResizeAxis rows(const int32_t* origin) const {
    return origin == nullptr ? rows() : part(x.h, out_h, scene_h, scene_out_h, origin[0]);
  }
  UNETD_HOST_DEVICE constexpr ResizeAxis columns(const int32_t* origin) const {
    return origin == nullptr ? columns() : part(x.w, out_w, scene_w, scene_out_w, origin[1]);
  }

 private:
  UNETD_HOST_DEVICE constexpr ResizeAxis part(int64_t in, int64_t out, int64_t scene_in,
                                              int64_t scene_out, int64_t origin) const {
    ResizeAxis axis = ResizeAxis::of(scene_in, scene_out, align_corners);
    axis.in = in;
    axis.out = out;
    axis.origin_in = origin / cell;
    axis.origin_out = origin / out_cell;
    return axis;
  }
};

struct ResizeBilinear {
  static constexpr const char* name = "resize_bilinear";
  ResizeGeometry geometry;
  DType dtype = DType::f32;

  bool operator==(const ResizeBilinear&) const = default;
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
struct ResizeBilinearGrad {
  static constexpr const char* name = "resize_bilinear_grad";
  ResizeGeometry geometry;
  DType dtype = DType::f32;

  bool operator==(const ResizeBilinearGrad&) const = default;
  struct Buffers {
    const void* dy;
    void* dx;
  };
  Buffers bind(In in, Out out) const { return {in[0], out[0]}; }
};

// Where output index i of a line reads: `low` and `high` with weight `t` on the second. Shared by
// every implementation and by both directions, so that they cannot disagree.
struct LinearTap {
  int64_t low, high;
  double t;
};
UNETD_HOST_DEVICE constexpr LinearTap linear_tap(int64_t i, const ResizeAxis& a) {
  const auto global = static_cast<double>(i + a.origin_out);
  double position = a.align_corners ? global * a.step : (global + 0.5) * a.step - 0.5;
  if (position < 0) position = 0;
  const int64_t floor = static_cast<int64_t>(position);
  const double t = position - static_cast<double>(floor);
  // A tile's rim may ask for a pixel beyond it; the halo makes those outputs irrelevant.
  const auto local = [&](int64_t g) {
    const int64_t inside = (g < a.whole ? g : a.whole - 1) - a.origin_in;
    return inside < 0 ? 0 : inside < a.in ? inside : a.in - 1;
  };
  return {local(floor), local(floor + 1), t};
}

// The outputs that may read source element s of a whole line: so many from first_reader() on, as
// far as they exist. An axis at most doubles.
inline constexpr int resize_readers = 4;
UNETD_HOST_DEVICE constexpr int64_t first_reader(int64_t s, const ResizeAxis& a) {
  if (a.density == 0) return 0;
  // The first i whose position is beyond s - 1.
  const double limit = a.align_corners ? static_cast<double>(s - 1) * a.density
                                       : (static_cast<double>(s) - 0.5) * a.density - 0.5;
  return limit < 0 ? 0 : static_cast<int64_t>(limit) + 1;
}

}  // namespace unetd
