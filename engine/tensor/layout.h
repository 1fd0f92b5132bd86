// How a logical tensor lies in device memory. Each device has one layout, and a session converts at
// its inputs and outputs only:
//   simt, cuda   dense NHWC, filters dense KRSC
//   cpu          blocks of 16 channels: (n, c/16, h, w, 16); filters (k/16, c/16, r, s, 16c, 16k);
//                filters of a transposed convolution (k/16, r, s, c/16, 16c, 16k)
// A block that the channels do not fill is padded with zeros, and every kernel keeps it so: sums
// over whole blocks then need no edge cases.
#pragma once

#include "engine/device/device.h"
#include "engine/tensor/shape.h"
#include "engine/tensor/tensor.h"

#include <cstddef>
#include <cstdint>

namespace unetd {

enum class Layout : uint8_t { nhwc, blocked16 };
constexpr Layout layout_of(DeviceType d) {
  return d == DeviceType::cpu ? Layout::blocked16 : Layout::nhwc;
}

// What a value is, which decides how the layout arranges it. `dense` values (labels, scalars, flat
// buffers) are the same everywhere: NHWC without padding.
enum class Kind : uint8_t { features, filter, transposed_filter, dense };

inline constexpr int64_t block = 16;
constexpr int64_t blocks(int64_t channels) { return (channels + block - 1) / block; }
constexpr int64_t padded(int64_t channels) { return blocks(channels) * block; }

// Elements of device memory that a value occupies, padding included.
constexpr int64_t storage_count(Layout layout, Kind kind, const Shape& s) {
  if (layout == Layout::nhwc || kind == Kind::dense) return s.count();
  if (kind == Kind::features) return s.pixels() * padded(s.c);
  return padded(s.n) * s.h * s.w * padded(s.c);
}

// Element index of logical element (n, h, w, c) of an image or vector.
constexpr int64_t feature_index(Layout layout, const Shape& s, int64_t n, int64_t h, int64_t w,
                                int64_t c) {
  if (layout == Layout::nhwc) return ((n * s.h + h) * s.w + w) * s.c + c;
  return (((n * blocks(s.c) + c / block) * s.h + h) * s.w + w) * block + c % block;
}

// Element index of filter element: output channel k, kernel row r and column q, input channel c.
constexpr int64_t filter_index(Layout layout, Kind kind, const Shape& s, int64_t k, int64_t r,
                               int64_t q, int64_t c) {
  if (layout == Layout::nhwc) return ((k * s.h + r) * s.w + q) * s.c + c;
  const int64_t in_block = c % block * block + k % block, cb = blocks(s.c);
  const int64_t outer = kind == Kind::filter ? ((k / block * cb + c / block) * s.h + r) * s.w + q
                                             : ((k / block * s.h + r) * s.w + q) * cb + c / block;
  return outer * block * block + in_block;
}

constexpr int64_t storage_index(Layout layout, Kind kind, const Shape& s, int64_t n, int64_t h,
                                int64_t w, int64_t c) {
  if (kind == Kind::dense) return ((n * s.h + h) * s.w + w) * s.c + c;
  if (kind == Kind::features) return feature_index(layout, s, n, h, w, c);
  return filter_index(layout, kind, s, n, h, w, c);
}

// Dense host tensor -> storage in host memory, padding zeroed; and back. The element type is kept.
void pack(const Tensor& from, Kind kind, Layout layout, void* storage);
Tensor unpack(const void* storage, Kind kind, Layout layout, Shape shape, DType dtype);

}  // namespace unetd
