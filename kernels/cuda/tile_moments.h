// The epilogue of a matrix product that stores it and takes the moments (moments.h) of its columns
// while the tile is in shared memory: each tile's rows are a chunk. They are moments of what is
// stored, so of rounded numbers.
//
// Eight columns and four rows at a time are a warp's lanes, which then read different banks, since
// staged rows are eight floats longer than the tile's. Four neighbouring lanes join their rows.
#pragma once

#include "kernels/cuda/matrix_product.h"
#include "kernels/cuda/moments.h"

namespace unetd::UNETD_GPU {

struct TileMoments : StoreOnly {
  float* partial;

  template <class Shape, class P>
  SIMT_DEVICE void take(const P& p, float* staged, uint32_t first_m, uint32_t first_n) const {
    store_tile<Shape>(p, staged, first_m, first_n);
    static_assert(std::is_same_v<decltype(P::view), DenseView>, "columns are channels");
    static_assert(Shape::staged_row % simt::warp_size == warp_columns);
    const int own_row = lane_index() % lanes, own_column = static_cast<int>(threadIdx.x) / lanes;
    const int64_t rest = p.m - first_m;
    const int rows = rest < Shape::m ? static_cast<int>(rest) : Shape::m;
    for (int column = own_column; column < Shape::n; column += Shape::threads / lanes) {
      const auto channel = first_n + static_cast<uint32_t>(column);
      if (channel - own_column % warp_columns >= p.n) continue;  // none of the warp's exist
      const uint32_t in_range = channel < p.n ? channel : 0;
      Moments<1> m = moments<Shape>(p, staged + column, in_range, own_row, rows);
      for (int distance = 1; distance < lanes; distance *= 2) m = Chan{}(m, shuffled(m, distance));
      if (own_row != 0 || channel >= p.n) continue;
      float* const row = partial + int64_t{first_m / Shape::m} * 2 * p.n + channel;
      row[0] = m.mean[0] + stored(p, staged[column], channel);
      row[p.n] = m.squares[0];
    }
  }

 private:
  static constexpr int lanes = 4, warp_columns = simt::warp_size / lanes;

  template <class P>
  SIMT_DEVICE static float stored(const P& p, float sum, uint32_t channel) {
    return to_float(finished(p, sum, channel));
  }

  // Of every fourth of the first `rows` rows, less the pivot: that of the tile's first row.
  template <class Shape, class P>
  SIMT_DEVICE static Moments<1> moments(const P& p, const float* column, uint32_t channel,
                                        int own_row, int rows) {
    const float pivot = stored(p, column[0], channel);
    const auto value = [&](int row) {
      return Floats<1>{stored(p, column[row * Shape::staged_row], channel) - pivot};
    };
    if (rows == Shape::m) {
      Floats<1> v[Shape::m / lanes];
      SIMT_UNROLL
      for (int i = 0; i < Shape::m / lanes; ++i) v[i] = value(own_row + i * lanes);
      return moments_of(v);
    }
    Moments<1> m{};
    for (int row = own_row; row < rows; row += lanes) {
      const Floats<1> one[] = {value(row)};
      m = Chan{}(m, moments_of(one));
    }
    return m;
  }

  SIMT_DEVICE static Moments<1> shuffled(const Moments<1>& m, int distance) {
    return {simt::shfl_xor(m.count, distance),
            {simt::shfl_xor(m.mean[0], distance)},
            {simt::shfl_xor(m.squares[0], distance)}};
  }
};

}  // namespace unetd::UNETD_GPU
