// The epilogue of a matrix product whose result is the gradient of a batch norm's result: it cuts
// it where the ReLU cut, stores it, and takes the two sums over its rows that the norm's gradients
// are made of (batch_norm.h). Each tile's rows are a chunk. Sums are of what is stored, so of
// rounded numbers.
//
// A thread has one pack of columns of every few rows, for which it reads the norm's image once. The
// threads' sums then take the place of the tile in shared memory, and are added in their order.
#pragma once

#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/matrix_product.h"

namespace unetd::UNETD_GPU {

template <class T>
struct TileNormGrad {
  const T* x;  // as the result
  Parameters norm;
  float* partial;

  template <class Shape, class P>
  SIMT_DEVICE void take(const P& p, float* staged, uint32_t first_m, uint32_t first_n) const {
    static_assert(std::is_same_v<decltype(P::view), DenseView>, "columns are channels");
    if (p.packs) return store_and_sum<Shape, simt::Pack<T>::size>(p, staged, first_m, first_n);
    store_and_sum<Shape, 1>(p, staged, first_m, first_n);
  }

  SIMT_DEVICE T of_slices(T value, int64_t offset, uint32_t channel) const {
    const bool cut = load_affine<1>(norm, channel)(to_float(x[offset]), 0) <= 0;
    return cut ? from_float<T>(0.F) : value;
  }

 private:
  template <class Shape, int N, class P>
  SIMT_DEVICE void store_and_sum(const P& p, float* staged, uint32_t first_m,
                                 uint32_t first_n) const {
    constexpr int across = Shape::n / N, high = Shape::threads / across;
    static_assert(2 * high * Shape::n * static_cast<int>(sizeof(float)) <= Shape::staged_bytes);
    const int own_column = static_cast<int>(threadIdx.x) % across * N,
              own_row = static_cast<int>(threadIdx.x) / across;
    const uint32_t channel = first_n + static_cast<uint32_t>(own_column);
    const int64_t rest = p.m - first_m;
    const int rows = rest < Shape::m ? static_cast<int>(rest) : Shape::m;
    Sums<N> sums{};
    if (channel < p.n) {
      const Affine<N> affine = load_affine<N>(norm, channel);
      for (int row = own_row; row < rows; row += high) {
        const float* const dz = staged + row * Shape::staged_row + own_column;
        const int64_t offset = (int64_t{first_m} + row) * p.n + channel;
        const Floats<N> v = load_floats<N>(x + offset);
        Floats<N> out;
        SIMT_UNROLL
        for (int k = 0; k < N; ++k) {
          const T stored = finished(p, dz[k], channel + static_cast<uint32_t>(k));
          out.v[k] = affine(v.v[k], k) <= 0 ? 0.F : to_float(stored);
          sums.add(affine, v.v[k], out.v[k], k);
        }
        store_floats(p.c + offset, out);
      }
    }
    __syncthreads();  // the tile has been read
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      staged[2 * own_row * Shape::n + own_column + k] = sums.plain[k];
      staged[(2 * own_row + 1) * Shape::n + own_column + k] = sums.weighted[k];
    }
    __syncthreads();
    for (auto i = static_cast<int>(threadIdx.x); i < 2 * Shape::n; i += Shape::threads) {
      const int which = i / Shape::n, column = i % Shape::n;
      if (first_n + column >= p.n) continue;
      float sum = 0;
      for (int row = 0; row < high; ++row) sum += staged[(2 * row + which) * Shape::n + column];
      partial[(int64_t{first_m / Shape::m} * 2 + which) * p.n + first_n + column] = sum;
    }
  }
};

}  // namespace unetd::UNETD_GPU
