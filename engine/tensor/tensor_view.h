// A tensor where it lies in a file.
#pragma once

#include "engine/base/dtype.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace unetd {

// Element (i, j, ...) begins at byte size_of(dtype) * (i * stride[0] + j * stride[1] + ...).
// Whoever makes a view sees to it that all elements lie within `bytes`; they need not be aligned.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<int64_t> shape, stride;
  std::span<const std::byte> bytes;
};

// The strides of dense elements, the last extent innermost.
std::vector<int64_t> dense_strides(std::span<const int64_t> shape);

// Extents multiplied, or -1 where one is negative or the product is no int64_t.
int64_t element_count(std::span<const int64_t> shape);

// The elements as f32, dense, the last extent innermost. f64, f16 and bf16 are converted; throws
// Error for integers.
std::vector<float> to_floats(const TensorView& view);

}  // namespace unetd
