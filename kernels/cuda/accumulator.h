// The innermost part of a matrix product: what a warp multiplies of two tiles in shared memory and
// keeps in registers. One interface, two ways: tensor cores for 16-bit elements (mma.m16n8k16, both
// operands by ldmatrix), fused multiply-adds for f32, which stays f32 to the last bit.
//
//   Accumulator<T, Shape, a, b> sum{};
//   sum.add(tile_of_a, tile_of_b);     one stage: stage_depth<T> of the common dimension
//   sum.put(staged);                   to shared memory, f32, rows of `staged_row` elements
//
// Of the tile's m x n elements a warp has warp_m x warp_n; the warps of a row of warps share A.
#pragma once

#include "kernels/cuda/operand_tile.h"

namespace unetd::UNETD_GPU {

// m x n elements of the result per block, in warps of warp_m x warp_n.
template <int tile_m, int tile_n, int warp_rows, int warp_columns>
struct TileShape {
  static constexpr int m = tile_m, n = tile_n;
  static constexpr int warp_m = tile_m / warp_rows, warp_n = tile_n / warp_columns;
  static constexpr int threads = warp_rows * warp_columns * simt::warp_size;
  // Eight floats of padding: the lanes of a fragment write to different banks.
  static constexpr int staged_row = tile_n + 8;
  static constexpr int staged_bytes = tile_m * staged_row * static_cast<int>(sizeof(float));

  SIMT_DEVICE static int first_row() {
    return static_cast<int>(threadIdx.x) / simt::warp_size / warp_columns * warp_m;
  }
  SIMT_DEVICE static int first_column() {
    return static_cast<int>(threadIdx.x) / simt::warp_size % warp_columns * warp_n;
  }
};

SIMT_DEVICE int lane_index() { return static_cast<int>(threadIdx.x) % simt::warp_size; }

// 16-bit elements. A lane holds of every 16x8 block of the result columns 2 (lane % 4) and the next
// of rows lane / 4 and lane / 4 + 8.
template <class T, class Shape, Order a_order, Order b_order>
class Accumulator {
 public:
  SIMT_DEVICE void add(const T* a, const T* b) {
    SIMT_UNROLL
    for (int k = 0; k < stage_depth<T>; k += block_k) {
      uint32_t rows[m_blocks][4], columns[n_blocks][2];
      SIMT_UNROLL
      for (int i = 0; i < m_blocks; ++i) load_rows(rows[i], a, Shape::first_row() + 16 * i, k);
      SIMT_UNROLL
      for (int j = 0; j < n_blocks; j += 2) {
        load_columns(columns[j], columns[j + 1], b, Shape::first_column() + 8 * j, k);
      }
      SIMT_UNROLL
      for (int i = 0; i < m_blocks; ++i) {
        SIMT_UNROLL
        for (int j = 0; j < n_blocks; ++j) {
          simt::mma_m16n8k16<T>(sum_[i][j], rows[i], columns[j]);
        }
      }
    }
  }

  SIMT_DEVICE void put(float* staged) const {
    const int row = Shape::first_row() + lane_index() / 4;
    const int column = Shape::first_column() + lane_index() % 4 * 2;
    SIMT_UNROLL
    for (int i = 0; i < m_blocks; ++i) {
      SIMT_UNROLL
      for (int j = 0; j < n_blocks; ++j) {
        SIMT_UNROLL
        for (int e = 0; e < 4; ++e) {
          staged[(row + 16 * i + e / 2 * 8) * Shape::staged_row + column + 8 * j + e % 2] =
              sum_[i][j][e];
        }
      }
    }
  }

 private:
  static constexpr int block_k = 16, m_blocks = Shape::warp_m / 16, n_blocks = Shape::warp_n / 8;
  static_assert(Shape::warp_m % 16 == 0 && Shape::warp_n % 16 == 0);
  using A = TileLayout<T, a_order, Shape::m>;
  using B = TileLayout<T, b_order, Shape::n>;

  // ldmatrix takes the address of line i % 8 of matrix i / 8 from lane i. Of the 16x16 elements at
  // (outer, k) the matrices are quarters: A's registers count rows first, those of two blocks of B
  // count k first.
  template <class Layout, Order order>
  SIMT_DEVICE static void load_quarters(uint32_t (&d)[4], const T* tile, int outer, int k) {
    if constexpr (order == Order::along_k) {
      simt::ldmatrix(d, Layout::at(tile, outer, k / Layout::pack));
    } else {
      simt::ldmatrix_trans(d, Layout::at(tile, k, outer / Layout::pack));
    }
  }
  SIMT_DEVICE static void load_rows(uint32_t (&d)[4], const T* tile, int row, int k) {
    const int lane = lane_index(), low = lane / 8 % 2 * 8, high = lane / 16 * 8;
    if constexpr (a_order == Order::along_k) {
      load_quarters<A, a_order>(d, tile, row + low + lane % 8, k + high);
    } else {
      load_quarters<A, a_order>(d, tile, row + low, k + high + lane % 8);
    }
  }
  SIMT_DEVICE static void load_columns(uint32_t (&left)[2], uint32_t (&right)[2], const T* tile,
                                       int column, int k) {
    const int lane = lane_index(), low = lane / 8 % 2 * 8, high = lane / 16 * 8;
    uint32_t d[4];
    if constexpr (b_order == Order::along_k) {
      load_quarters<B, b_order>(d, tile, column + high + lane % 8, k + low);
    } else {
      load_quarters<B, b_order>(d, tile, column + high, k + low + lane % 8);
    }
    left[0] = d[0];
    left[1] = d[1];
    right[0] = d[2];
    right[1] = d[3];
  }

  float sum_[m_blocks][n_blocks][4];
};

// f32. The lanes of a warp form 8 rows and 4 columns, and each has rows_per_lane x columns_per_lane
// elements. It reads packs: four k of an outer index from an operand along k, four outer indices of
// a k from one across.
template <class Shape, Order a_order, Order b_order>
class Accumulator<float, Shape, a_order, b_order> {
 public:
  SIMT_DEVICE void add(const float* a, const float* b) {
    // Unrolled, the loads of all k come first and take all registers.
    SIMT_LOOP
    for (int k = 0; k < stage_depth<float>; k += 4) {
      float rows[rows_per_lane][4];
      SIMT_UNROLL
      for (int i = 0; i < rows_per_lane; i += 4) {
        load<A, a_order, 8>(&rows[i], a, Shape::first_row(), lane_row(), i, k);
      }
      SIMT_UNROLL
      for (int j = 0; j < columns_per_lane; j += 4) {
        float columns[4][4];
        load<B, b_order, 4>(columns, b, Shape::first_column(), lane_column(), j, k);
        SIMT_UNROLL
        for (int e = 0; e < 16; ++e) {
          SIMT_UNROLL
          for (int i = 0; i < rows_per_lane; ++i) {
            sum_[i][j + e % 4] += rows[i][e / 4] * columns[e % 4][e / 4];
          }
        }
      }
    }
  }

  SIMT_DEVICE void put(float* staged) const {
    SIMT_UNROLL
    for (int i = 0; i < rows_per_lane; ++i) {
      const int row = Shape::first_row() + index<a_order, 8>(lane_row(), i);
      SIMT_UNROLL
      for (int j = 0; j < columns_per_lane; ++j) {
        const int column = Shape::first_column() + index<b_order, 4>(lane_column(), j);
        staged[row * Shape::staged_row + column] = sum_[i][j];
      }
    }
  }

 private:
  static constexpr int rows_per_lane = Shape::warp_m / 8, columns_per_lane = Shape::warp_n / 4;
  static_assert(Shape::warp_m % 32 == 0 && Shape::warp_n % 16 == 0);
  using A = TileLayout<float, a_order, Shape::m>;
  using B = TileLayout<float, b_order, Shape::n>;

  // Eight neighbouring lanes read different rows: eight packs in different banks.
  SIMT_DEVICE static int lane_row() { return lane_index() % 8; }
  SIMT_DEVICE static int lane_column() { return lane_index() / 8; }

  // The outer index, from the warp's first, of a lane's i-th of those that `lanes` lanes share.
  template <Order order, int lanes>
  SIMT_DEVICE static int index(int lane, int i) {
    return order == Order::along_k ? lane + lanes * i : 4 * (lane + lanes * (i / 4)) + i % 4;
  }

  // d[j][e]: the lane's outer index i + j, for four j, at k + e.
  template <class Layout, Order order, int lanes>
  SIMT_DEVICE static void load(float (*d)[4], const float* tile, int first, int lane, int i,
                               int k) {
    SIMT_UNROLL
    for (int p = 0; p < 4; ++p) {
      if constexpr (order == Order::along_k) {
        const auto values =
            simt::load16(Layout::at(tile, first + index<order, lanes>(lane, i + p), k / 4));
        SIMT_UNROLL
        for (int e = 0; e < 4; ++e) d[p][e] = values.v[e];
      } else {
        const auto values =
            simt::load16(Layout::at(tile, k + p, (first + index<order, lanes>(lane, i)) / 4));
        SIMT_UNROLL
        for (int e = 0; e < 4; ++e) d[e][p] = values.v[e];
      }
    }
  }

  float sum_[rows_per_lane][columns_per_lane];
};

}  // namespace unetd::UNETD_GPU
