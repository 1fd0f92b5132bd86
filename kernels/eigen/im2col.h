// Convolutions as matrix products. The left operand, `Im2col`, has one row per pixel and in it the
// values under that pixel's window; it exists in tiles only. Filters are the right operand.
// Channels stay in blocks of 16, so rows are copied in runs of 16 floats and padding needs no care.
#pragma once

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/eigen/gemm.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace unetd::eigen {

// Row (n, i, j) of the grid; column (channel block, r, s, lane). The value comes from source row
// i * stride + r - pad or, when `transposed`, from the one that would have reached i, which is
// (i + pad - r) / stride if that is whole; likewise for j. It is zero outside the source.
struct Im2col {
  Shape source;
  int64_t grid_h, grid_w;
  int64_t r = 1, s = 1, stride = 1, pad = 0;
  bool transposed = false;

  int64_t rows() const { return source.n * grid_h * grid_w; }
  int64_t source_blocks() const { return blocks(source.c); }
  int64_t block_columns() const { return r * s * block; }
  int64_t columns() const { return source_blocks() * block_columns(); }
  // Rows [begin, end), columns of `count` source blocks from `first`, densely into `out`.
  void fill(const float* image, int64_t begin, int64_t end, int64_t first, int64_t count,
            float* out) const;
};

// Pixel-wise: each pixel's own channels.
inline Im2col pixels_of(const Shape& s) { return {.source = s, .grid_h = s.h, .grid_w = s.w}; }

// Filters are matrices of 16 x 16 blocks: `at(row block, column block)` is the index of a block in
// the filter's storage. The two functions copy between storage and a row-major matrix.
template <class At>
void filter_to_matrix(const float* filter, int64_t row_blocks, int64_t column_blocks,
                      bool transpose, float* matrix, At&& at) {
  const int64_t columns = column_blocks * block;
  parallel_for(row_blocks, [&](int64_t i) {
    for (int64_t j = 0; j < column_blocks; ++j) {
      const float* from = filter + at(i, j) * block * block;
      float* to = matrix + i * block * columns + j * block;
      for (int64_t p = 0; p < block; ++p) {
        for (int64_t q = 0; q < block; ++q) {
          to[p * columns + q] = transpose ? from[q * block + p] : from[p * block + q];
        }
      }
    }
  });
}

template <class At>
void matrix_to_filter(const float* matrix, int64_t row_blocks, int64_t column_blocks, float* filter,
                      At&& at) {
  const int64_t columns = column_blocks * block;
  parallel_for(row_blocks, [&](int64_t i) {
    for (int64_t j = 0; j < column_blocks; ++j) {
      const float* from = matrix + i * block * columns + j * block;
      float* to = filter + at(i, j) * block * block;
      for (int64_t p = 0; p < block; ++p) std::copy_n(from + p * columns, block, to + p * block);
    }
  });
}

// Rows of the left operand that are in work at a time.
inline constexpr int64_t tile_rows = 128;

// left * filter, tile by tile. The workspace holds the filter as a matrix and a slot per worker.
class TiledProduct {
 public:
  TiledProduct(const Im2col& left, int64_t columns);

  size_t workspace() const {
    return static_cast<size_t>(matrix_floats() + workers_ * slot_floats()) * sizeof(float);
  }
  // Blocks of the filter are transposed if asked for. Calls store(first row, rows, values) for each
  // tile of the result, from several threads at once.
  template <class At, class Store>
  void run(const float* image, const float* filter, bool transpose, At&& at, void* workspace,
           Store&& store) const {
    float* const matrix = static_cast<float*>(workspace);
    filter_to_matrix(filter, left_.columns() / block, columns_ / block, transpose, matrix, at);
    parallel_for(workers_, [&](int64_t worker) {
      float* const slot = matrix + matrix_floats() + worker * slot_floats();
      for (int64_t row = worker * tile_rows; row < left_.rows(); row += workers_ * tile_rows) {
        const int64_t rows = std::min(tile_rows, left_.rows() - row);
        store(row, rows, multiply_tile(image, matrix, row, rows, slot));
      }
    });
  }

 private:
  int64_t matrix_floats() const { return left_.columns() * columns_; }
  int64_t slot_floats() const {
    return tile_rows * (slice_blocks_ * left_.block_columns() + columns_);
  }
  const float* multiply_tile(const float* image, const float* matrix, int64_t row, int64_t rows,
                             float* slot) const;

  Im2col left_;
  int64_t columns_, slice_blocks_, workers_;
};

// transpose(left) * right, a sum over all pixels: what the gradients of filters are. The pixels are
// cut into chunks whose sums are added in order; the cut depends on nothing but the problem.
class OuterProduct {
 public:
  OuterProduct(const Im2col& left, const Im2col& right);

  size_t workspace() const {
    return static_cast<size_t>(chunks_ * result_floats() + workers_ * slot_floats()) *
           sizeof(float);
  }
  template <class At>
  void run(const float* left_image, const float* right_image, float* filter, At&& at,
           void* workspace) const {
    float* const result = static_cast<float*>(workspace);
    sum(left_image, right_image, result);
    matrix_to_filter(result, left_.columns() / block, right_.columns() / block, filter, at);
  }

 private:
  int64_t result_floats() const { return left_.columns() * right_.columns(); }
  int64_t slot_floats() const {
    return tile_rows * (group_blocks_ * left_.block_columns() + right_.columns());
  }
  // The result goes to the beginning of `partial`.
  void sum(const float* left_image, const float* right_image, float* partial) const;
  void sum_chunk(const float* left_image, const float* right_image, int64_t chunk, int64_t group,
                 float* result, float* slot) const;

  Im2col left_, right_;
  int64_t group_blocks_, groups_;  // left blocks per task, and how many such groups there are
  int64_t chunks_, workers_;
};

// Rows [first, first + rows) of a pixels x channels matrix into an image of shape s, + bias (or
// null), then ReLU if asked for.
void store_pixels(const Shape& s, int64_t first, int64_t rows, const float* values,
                  const float* bias, bool relu, float* image);

// sum[c] = sum of the image over n, h and w.
void sum_pixels(const float* image, const Shape& s, float* sum);

}  // namespace unetd::eigen
