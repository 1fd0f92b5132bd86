#include "kernels/eigen/im2col.h"

namespace unetd::eigen {
namespace {

// A tile of the left operand should stay in the second-level cache.
constexpr int64_t tile_floats = int64_t{64} << 10;

// The index along one axis that the window's element `tap` reads at grid index i, or -1.
int64_t source_index(const Im2col& m, int64_t i, int64_t tap, int64_t size) {
  int64_t at = m.transposed ? i + m.pad - tap : i * m.stride + tap - m.pad;
  if (m.transposed && m.stride != 1) {
    if (at % m.stride != 0) return -1;
    at /= m.stride;
  }
  return at >= 0 && at < size ? at : -1;
}

}  // namespace

void Im2col::fill(const float* image, int64_t begin, int64_t end, int64_t first, int64_t count,
                  float* out) const {
  const int64_t plane = source.h * source.w * block;
  for (int64_t row = begin; row < end; ++row, out += count * block_columns()) {
    const int64_t j = row % grid_w, i = row / grid_w % grid_h, n = row / (grid_w * grid_h);
    const float* planes = image + (n * source_blocks() + first) * plane;
    float* at = out;
    for (int64_t p = 0; p < r; ++p) {
      const int64_t y = source_index(*this, i, p, source.h);
      for (int64_t q = 0; q < s; ++q, at += block) {
        const int64_t x = source_index(*this, j, q, source.w);
        const int64_t offset = (y * source.w + x) * block;
        for (int64_t b = 0; b < count; ++b) {
          if (y < 0 || x < 0) {
            std::fill_n(at + b * block_columns(), block, 0.0F);
          } else {
            std::copy_n(planes + b * plane + offset, block, at + b * block_columns());
          }
        }
      }
    }
  }
}

TiledProduct::TiledProduct(const Im2col& left, int64_t columns)
    : left_(left),
      columns_(columns),
      slice_blocks_(std::clamp<int64_t>(tile_floats / (tile_rows * left.block_columns()), 1,
                                        left.source_blocks())),
      workers_(thread_count()) {}

const float* TiledProduct::multiply_tile(const float* image, const float* matrix, int64_t row,
                                         int64_t rows, float* slot) const {
  float* const slice = slot + tile_rows * columns_;
  std::fill_n(slot, rows * columns_, 0.0F);
  for (int64_t b = 0; b < left_.source_blocks(); b += slice_blocks_) {
    const int64_t count = std::min(slice_blocks_, left_.source_blocks() - b);
    const int64_t depth = count * left_.block_columns();
    left_.fill(image, row, row + rows, b, count, slice);
    gemm({.m = rows,
          .n = columns_,
          .k = depth,
          .a = slice,
          .lda = depth,
          .a_transposed = false,
          .b = matrix + b * left_.block_columns() * columns_,
          .ldb = columns_,
          .c = slot,
          .ldc = columns_});
  }
  return slot;
}

OuterProduct::OuterProduct(const Im2col& left, const Im2col& right)
    : left_(left), right_(right), workers_(thread_count()) {
  // Enough rows for the matrix product to be efficient, enough tasks for the threads to share.
  constexpr int64_t group_rows = 128, enough_tasks = 16, chunk_rows = 8 * tile_rows;
  group_blocks_ = std::clamp<int64_t>(group_rows / left.block_columns(), 1, left.source_blocks());
  groups_ = (left.source_blocks() + group_blocks_ - 1) / group_blocks_;
  chunks_ =
      std::clamp<int64_t>(enough_tasks / groups_, 1, (left.rows() + chunk_rows - 1) / chunk_rows);
}

void OuterProduct::sum(const float* left_image, const float* right_image, float* partial) const {
  float* const slots = partial + chunks_ * result_floats();
  const int64_t tasks = chunks_ * groups_;
  parallel_for(workers_, [&](int64_t worker) {
    for (int64_t task = worker; task < tasks; task += workers_) {
      const int64_t chunk = task / groups_;
      sum_chunk(left_image, right_image, chunk, task % groups_, partial + chunk * result_floats(),
                slots + worker * slot_floats());
    }
  });
  parallel_chunks(result_floats(), int64_t{16} << 10, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = 1; chunk < chunks_; ++chunk) {
      const float* part = partial + chunk * result_floats();
      for (int64_t i = begin; i < end; ++i) partial[i] += part[i];
    }
  });
}

void OuterProduct::sum_chunk(const float* left_image, const float* right_image, int64_t chunk,
                             int64_t group, float* result, float* slot) const {
  const int64_t tiles = (left_.rows() + tile_rows - 1) / tile_rows;
  const int64_t begin = tiles * chunk / chunks_ * tile_rows;
  const int64_t end = std::min(left_.rows(), tiles * (chunk + 1) / chunks_ * tile_rows);
  const int64_t first = group * group_blocks_;
  const int64_t count = std::min(group_blocks_, left_.source_blocks() - first);
  const int64_t m = count * left_.block_columns(), n = right_.columns();
  float* const right_tile = slot + tile_rows * group_blocks_ * left_.block_columns();
  float* const sum = result + first * left_.block_columns() * n;
  std::fill_n(sum, m * n, 0.0F);
  for (int64_t row = begin; row < end; row += tile_rows) {
    const int64_t last = std::min(end, row + tile_rows);
    left_.fill(left_image, row, last, first, count, slot);
    right_.fill(right_image, row, last, 0, right_.source_blocks(), right_tile);
    gemm({.m = m,
          .n = n,
          .k = last - row,
          .a = slot,
          .lda = m,
          .a_transposed = true,
          .b = right_tile,
          .ldb = n,
          .c = sum,
          .ldc = n});
  }
}

void store_pixels(const Shape& s, int64_t first, int64_t rows, const float* values,
                  const float* bias, bool relu, float* image) {
  const int64_t plane = s.h * s.w, cb = blocks(s.c);
  for (int64_t row = first; row < first + rows; ++row) {
    for (int64_t b = 0; b < cb; ++b, values += block) {
      float* out = image + ((row / plane * cb + b) * plane + row % plane) * block;
      for (int64_t lane = 0; lane < block; ++lane) {
        const float v = values[lane] + (bias == nullptr ? 0.0F : bias[b * block + lane]);
        out[lane] = relu ? std::max(0.0F, v) : v;
      }
    }
  }
}

void sum_pixels(const float* image, const Shape& s, float* sum) {
  parallel_for(blocks(s.c), [&](int64_t b) {
    double total[block] = {};
    for (int64_t row = 0; row < s.n * s.h; ++row) {
      const float* x = image + (row / s.h * blocks(s.c) * s.h + b * s.h + row % s.h) * s.w * block;
      float line[block] = {};
      for (int64_t j = 0; j < s.w; ++j, x += block) {
        for (int64_t lane = 0; lane < block; ++lane) line[lane] += x[lane];
      }
      for (int64_t lane = 0; lane < block; ++lane) total[lane] += static_cast<double>(line[lane]);
    }
    for (int64_t lane = 0; lane < block; ++lane) {
      sum[b * block + lane] = static_cast<float>(total[lane]);
    }
  });
}

}  // namespace unetd::eigen
