// Images and filters as the matrices that the products of gemm.h read and write. A view says where
// an element lies: row(i) and column(j) do what depends on one index alone, offset(row, column)
// finds the element, or `outside` where the matrix ends or the image has zero padding. Neighbouring
// columns are neighbours in memory in runs of `run()` elements; if packs fill the runs, whole packs
// may move at the offset of their first column.
//
//   DenseView   row-major storage
//   PatchView   the patches of an image (n, h, w, c): a row per position of the kernel, a column
//   per
//               (tap, channel); what is often called im2col, but never stored
//   FilterView  a filter (k, r, s, c) turned to a row per (tap, k) and a column per c
#pragma once

#include "engine/op/conv2d.h"
#include "engine/op/conv_transpose2x2.h"
#include "kernels/simt/simt.h"

#include <algorithm>
#include <bit>

namespace unetd::UNETD_GPU {

inline constexpr int64_t outside = -1;
inline constexpr int64_t max_index = 0x7fffffff;  // of rows, columns and pixels

// Division of numbers below 2^31 by one that is known on the host: as a multiplication by its
// rounded-up reciprocal (Granlund and Montgomery, 1994).
struct Divisor {
  uint32_t value, factor, shift;
  SIMT_DEVICE uint32_t quotient(uint32_t n) const {
    return static_cast<uint32_t>((uint64_t{n} * factor) >> shift);
  }
  SIMT_DEVICE uint32_t remainder(uint32_t n, uint32_t quotient) const {
    return n - quotient * value;
  }
};

inline Divisor divisor(int64_t value) {
  const auto d = static_cast<uint64_t>(value);
  const auto shift = static_cast<uint32_t>(31 + std::bit_width(d - 1));
  const uint64_t factor = ((uint64_t{1} << shift) + d - 1) / d;
  return {static_cast<uint32_t>(d), static_cast<uint32_t>(factor), shift};
}

struct DenseView {
  int64_t rows, columns;

  using Row = int64_t;      // offset of its first element, or outside
  using Column = uint32_t;  // index
  SIMT_DEVICE Row row(uint32_t i) const { return i < rows ? i * columns : outside; }
  SIMT_DEVICE Column column(uint32_t j) const { return j; }
  SIMT_DEVICE uint32_t channel(Column j) const { return j; }
  SIMT_DEVICE int64_t offset(Row row, Column column) const {
    return row != outside && column < columns ? row + column : outside;
  }
  int64_t run() const { return columns; }
};

// Element (n, i, j), (r, s, c) is pixel (i * step + top + r * direction, likewise) of image n.
struct PatchView {
  int64_t rows, columns;
  uint32_t height, width, channels;  // of the image
  Divisor high, wide;                // positions of the kernel
  Divisor by_channels, taps_wide;
  int32_t step, top, left, direction;

  // A coordinate that no other brings back into an image.
  static constexpr int32_t far = 1 << 29;
  struct Row {
    int64_t image;
    int32_t y, x;
  };
  struct Column {
    int32_t y, x;
    uint32_t channel;
  };
  SIMT_DEVICE Row row(uint32_t i) const {
    if (i >= rows) return {0, far, far};
    const uint32_t line = wide.quotient(i), image = high.quotient(line);
    return {int64_t{image} * height * width * channels,
            static_cast<int32_t>(high.remainder(line, image)) * step + top,
            static_cast<int32_t>(wide.remainder(i, line)) * step + left};
  }
  SIMT_DEVICE Column column(uint32_t j) const {
    if (j >= columns) return {far, far, 0};
    const uint32_t tap = by_channels.quotient(j), r = taps_wide.quotient(tap);
    return {static_cast<int32_t>(r) * direction,
            static_cast<int32_t>(taps_wide.remainder(tap, r)) * direction,
            by_channels.remainder(j, tap)};
  }
  SIMT_DEVICE uint32_t channel(const Column& column) const { return column.channel; }
  SIMT_DEVICE int64_t offset(const Row& row, const Column& column) const {
    const auto y = static_cast<uint32_t>(row.y + column.y);  // negative ones are large
    const auto x = static_cast<uint32_t>(row.x + column.x);
    if (y >= height || x >= width) return outside;
    return row.image + int64_t{y * width + x} * channels + column.channel;
  }
  int64_t run() const { return channels; }
};

// Of a filter with r x s taps those at first + i * step: row (i, j, k) is tap (i, j) of channel k.
struct FilterView {
  int64_t rows, columns;
  uint32_t r, s;
  Divisor by_k, taps_wide;
  uint32_t first_r, first_s, step;

  using Row = int64_t;
  using Column = uint32_t;
  SIMT_DEVICE Row row(uint32_t i) const {
    if (i >= rows) return outside;
    const uint32_t tap = by_k.quotient(i), k = by_k.remainder(i, tap);
    const uint32_t i_r = taps_wide.quotient(tap), i_s = taps_wide.remainder(tap, i_r);
    const uint32_t tap_r = first_r + i_r * step, tap_s = first_s + i_s * step;
    return ((int64_t{k} * r + tap_r) * s + tap_s) * columns;
  }
  SIMT_DEVICE Column column(uint32_t j) const { return j; }
  SIMT_DEVICE uint32_t channel(Column j) const { return j; }
  SIMT_DEVICE int64_t offset(Row row, Column column) const {
    return row != outside && column < columns ? row + column : outside;
  }
  int64_t run() const { return columns; }
};

// Why a convolution's tensors are beyond these views, or null. Types are those of the products.
inline const char* reject_convolution(DType dtype, const ConvGeometry& g) {
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::f16) {
    return "only f32, bf16 and f16";
  }
  const int64_t taps = g.r * g.s, channels = std::max(g.x.c, g.k);
  const int64_t extent = std::max({g.x.h, g.x.w, g.y().h, g.y().w});
  if (std::max({g.x.pixels(), g.y().pixels(), taps * channels}) > max_index ||
      extent >= PatchView::far / 2) {
    return "more than 2^31 - 1 pixels, or kernel elements of a channel";
  }
  return nullptr;
}

// --- the views of a convolution's tensors
// ----------------------------------------------------------

inline DenseView dense(int64_t rows, int64_t columns) { return {rows, columns}; }

// The patch of x under the kernel, for every pixel of y.
inline PatchView patches(const ConvGeometry& g) {
  const Shape y = g.y();
  const auto pad = static_cast<int32_t>(g.pad);
  return {.rows = y.pixels(),
          .columns = g.r * g.s * g.x.c,
          .height = static_cast<uint32_t>(g.x.h),
          .width = static_cast<uint32_t>(g.x.w),
          .channels = static_cast<uint32_t>(g.x.c),
          .high = divisor(y.h),
          .wide = divisor(y.w),
          .by_channels = divisor(g.x.c),
          .taps_wide = divisor(g.s),
          .step = static_cast<int32_t>(g.stride),
          .top = -pad,
          .left = -pad,
          .direction = 1};
}

// The convolution whose data gradient a transposed one is.
inline ConvGeometry mirrored(const UpConvGeometry& g) {
  return {.x = g.y(), .k = g.x.c, .r = 2, .s = 2, .stride = 2, .pad = 0};
}
// The 2x2 patch of y for every pixel of x.
inline PatchView patches(const UpConvGeometry& g) { return patches(mirrored(g)); }

// A row for each (tap, k).
inline FilterView taps(const UpConvGeometry& g) {
  return {.rows = 4 * g.k,
          .columns = g.x.c,
          .r = 2,
          .s = 2,
          .by_k = divisor(g.k),
          .taps_wide = divisor(2),
          .first_r = 0,
          .first_s = 0,
          .step = 1};
}

// In one direction, what the data gradient needs for the pixels first, first + stride, ... of x:
// only every stride-th tap, counted from first_tap, lies on a pixel of y there. The i-th of these
// pixels takes y[i + shift - t] from the t-th of these taps.
struct Phase {
  int64_t first, pixels, first_tap, taps, shift;
};
inline Phase phase(int64_t first, int64_t extent, int64_t kernel, int64_t stride, int64_t pad) {
  const int64_t first_tap = (first + pad) % stride;
  return {.first = first,
          .pixels = (extent - first + stride - 1) / stride,
          .first_tap = first_tap,
          .taps = std::max<int64_t>(0, (kernel - first_tap + stride - 1) / stride),
          .shift = (first + pad - first_tap) / stride};
}

// The pixels of y that those of a phase of x come from.
inline PatchView sources(const ConvGeometry& g, const Phase& v, const Phase& h) {
  const Shape y = g.y();
  return {.rows = g.x.n * v.pixels * h.pixels,
          .columns = v.taps * h.taps * g.k,
          .height = static_cast<uint32_t>(y.h),
          .width = static_cast<uint32_t>(y.w),
          .channels = static_cast<uint32_t>(g.k),
          .high = divisor(v.pixels),
          .wide = divisor(h.pixels),
          .by_channels = divisor(g.k),
          .taps_wide = divisor(std::max<int64_t>(1, h.taps)),
          .step = 1,
          .top = static_cast<int32_t>(v.shift),
          .left = static_cast<int32_t>(h.shift),
          .direction = -1};
}

// The pixels of a phase of x themselves.
inline PatchView pixels(const ConvGeometry& g, const Phase& v, const Phase& h) {
  return {.rows = g.x.n * v.pixels * h.pixels,
          .columns = g.x.c,
          .height = static_cast<uint32_t>(g.x.h),
          .width = static_cast<uint32_t>(g.x.w),
          .channels = static_cast<uint32_t>(g.x.c),
          .high = divisor(v.pixels),
          .wide = divisor(h.pixels),
          .by_channels = divisor(g.x.c),
          .taps_wide = divisor(1),
          .step = static_cast<int32_t>(g.stride),
          .top = static_cast<int32_t>(v.first),
          .left = static_cast<int32_t>(h.first),
          .direction = 1};
}

// The taps of a phase, a row for each (tap, k).
inline FilterView taps(const ConvGeometry& g, const Phase& v, const Phase& h) {
  return {.rows = v.taps * h.taps * g.k,
          .columns = g.x.c,
          .r = static_cast<uint32_t>(g.r),
          .s = static_cast<uint32_t>(g.s),
          .by_k = divisor(g.k),
          .taps_wide = divisor(std::max<int64_t>(1, h.taps)),
          .first_r = static_cast<uint32_t>(v.first_tap),
          .first_s = static_cast<uint32_t>(h.first_tap),
          .step = static_cast<uint32_t>(g.stride)};
}

}  // namespace unetd::UNETD_GPU
