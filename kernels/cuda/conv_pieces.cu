#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/conv_pieces.h"
#include "kernels/cuda/moments.h"
#include "kernels/cuda/slices.h"

#include <algorithm>
#include <bit>

namespace unetd::UNETD_GPU {
namespace {

using simt::Dim;

constexpr unsigned threads = 256;

// A block covers `lanes` neighbouring channels of pixels that its rows of threads take in turn, so
// a thread stays with its channel.
constexpr unsigned lanes = 32, rows = threads / lanes;

SIMT_DEVICE int64_t own_channel() { return int64_t{blockIdx.x} * lanes + threadIdx.x % lanes; }
SIMT_DEVICE int64_t first_pixel() { return int64_t{blockIdx.y} * rows + threadIdx.x / lanes; }
SIMT_DEVICE int64_t pixel_step() { return int64_t{gridDim.y} * rows; }

Dim grid_of(int64_t pixel_chunks, int64_t channels) {
  return {simt::blocks_for(channels, lanes), static_cast<unsigned>(pixel_chunks)};
}

template <class T>
__global__ void __launch_bounds__(threads)
    add_bias_kernel(T* __restrict__ y, const float* __restrict__ bias, bool relu, int64_t pixels,
                    int64_t channels) {
  const int64_t channel = own_channel();
  if (channel >= channels) return;
  const float b = bias == nullptr ? 0.F : bias[channel];
  for (int64_t pixel = first_pixel(); pixel < pixels; pixel += pixel_step()) {
    T& element = y[pixel * channels + channel];
    const float value = to_float(element) + b;
    element = from_float<T>(relu && value < 0.F ? 0.F : value);  // NaN stays NaN
  }
}

// Block (x, y) sums slice y of the pixels for `wide` channels from x * wide. The threads are `wide`
// channels by 256 / wide pixels, and sum over the latter as a tree; x is read once.
template <class T>
__global__ void __launch_bounds__(threads)
    channel_sums_kernel(float* __restrict__ sums, const T* __restrict__ x, int64_t pixels,
                        int64_t channels, int64_t pixels_of_a_slice, unsigned wide) {
  using Parts = float[threads];
  SIMT_SHARED(Parts, parts);
  const unsigned high = threads / wide, line = threadIdx.x / wide;
  const int64_t channel = int64_t{blockIdx.x} * wide + threadIdx.x % wide;
  const int64_t begin = blockIdx.y * pixels_of_a_slice, end = begin + pixels_of_a_slice;
  float sum = 0;
  if (channel < channels) {
    for (int64_t pixel = begin + line; pixel < end && pixel < pixels; pixel += high) {
      sum += to_float(x[pixel * channels + channel]);
    }
  }
  parts[threadIdx.x] = sum;
  for (unsigned half = high / 2; half > 0; half /= 2) {
    __syncthreads();
    if (line < half) parts[threadIdx.x] += parts[threadIdx.x + half * wide];
  }
  if (line == 0 && channel < channels) {
    sums[blockIdx.y * channels + channel] = parts[threadIdx.x];
  }
}

struct StoreElement {
  float* to;
  SIMT_DEVICE void operator()(int64_t i, float sum) const { to[i] = sum; }
};

// Two for every processor. Below so many pixels a slice costs more than it gains.
Slices slices_of_pixels(int64_t pixels) {
  constexpr int64_t least_pixels = 256;
  return cut(pixels, 2 * processors, least_pixels);
}

__global__ void __launch_bounds__(threads)
    coefficients_of_gradient_kernel(GradientVectors v, int64_t pixels, int64_t channels) {
  const int64_t c = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (c < channels) store_coefficients(v, c, v.dgamma[c], v.dbeta[c], pixels);
}
// The sums of an image that are known without its chunks.
Chunks no_chunks(const Shape& x) { return {x.pixels(), x.c, x.pixels(), 0}; }

// A block turns a square of channels by way of shared memory, so that both sides are read and
// written along rows; one column more keeps its columns out of one another's banks. blockIdx.z is
// the tap.
constexpr unsigned side = 32;
template <class T>
using Square = T[side][side + 1];

template <class T>
__global__ void __launch_bounds__(threads)
    swap_channels_kernel(T* __restrict__ swapped, const T* __restrict__ w, int64_t k, int64_t c) {
  using Tile = Square<T>;
  SIMT_SHARED(Tile, tile);
  const int64_t first_c = int64_t{blockIdx.x} * side, first_k = int64_t{blockIdx.y} * side;
  const int64_t tap = blockIdx.z, taps = gridDim.z;
  const unsigned lane = threadIdx.x % side;
  for (unsigned row = threadIdx.x / side; row < side; row += threads / side) {
    if (first_k + row >= k || first_c + lane >= c) continue;
    tile[row][lane] = w[((first_k + row) * taps + tap) * c + first_c + lane];
  }
  __syncthreads();
  for (unsigned row = threadIdx.x / side; row < side; row += threads / side) {
    if (first_c + row >= c || first_k + lane >= k) continue;
    swapped[((first_c + row) * taps + tap) * k + first_k + lane] = tile[lane][row];
  }
}

__global__ void __launch_bounds__(threads)
    statistics_of_sums_kernel(Statistics out, Smoothing smoothing, const float* __restrict__ sums,
                              const float* __restrict__ squares, int64_t pixels, int64_t channels) {
  const int64_t c = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (c >= channels) return;
  const auto count = static_cast<double>(pixels);
  const double mean = sums[c] / count, deviations = squares[c] - count * mean * mean;
  store_statistics(out, smoothing, c, count, mean, deviations < 0 ? 0 : deviations);
}

template <class T>
__global__ void __launch_bounds__(threads)
    widen_kernel(float* __restrict__ y, const T* __restrict__ x, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i < count) y[i] = to_float(x[i]);
}

}  // namespace
}  // namespace unetd::UNETD_GPU

namespace unetd {

template <>
void add_bias<simt::device>(void* y, const void* bias, bool relu, DType dtype, int64_t pixels,
                            int64_t channels, const Stream& stream) {
  using namespace UNETD_GPU;
  constexpr int64_t pixels_of_a_chunk = 64, most = 16384;
  const int64_t chunks = std::clamp<int64_t>(pixels / pixels_of_a_chunk, 1, most);
  with_storage_type(dtype, [&]<class T>(T) {
    simt::launch(add_bias_kernel<T>, grid_of(chunks, channels), simt::Dim{threads}, 0, stream,
                 static_cast<T*>(y), static_cast<const float*>(bias), relu, pixels, channels);
  });
}

template <>
void channel_sums<simt::device>(float* sums, const void* x, DType dtype, int64_t pixels,
                                int64_t channels, void* workspace, const Stream& stream) {
  using namespace UNETD_GPU;
  const Slices slices = slices_of_pixels(pixels);
  auto* const parts = slices.count > 1 ? static_cast<float*>(workspace) : sums;
  const unsigned wide = std::bit_ceil(static_cast<unsigned>(std::min<int64_t>(channels, lanes)));
  const simt::Dim grid{simt::blocks_for(channels, wide), static_cast<unsigned>(slices.count)};
  with_storage_type(dtype, [&]<class T>(T) {
    simt::launch(channel_sums_kernel<T>, grid, simt::Dim{threads}, 0, stream, parts,
                 static_cast<const T*>(x), pixels, channels, slices.length, wide);
  });
  if (slices.count > 1) add_slices(StoreElement{sums}, parts, channels, slices, stream);
}

template <>
size_t channel_sums_workspace<simt::device>(int64_t pixels, int64_t channels) {
  using namespace UNETD_GPU;
  return slices_bytes(slices_of_pixels(pixels), channels);
}

template <>
void swap_channels<simt::device>(void* swapped, const void* w, DType dtype, int64_t k, int64_t taps,
                                 int64_t c, const Stream& stream) {
  using namespace UNETD_GPU;
  const simt::Dim grid{simt::blocks_for(c, side), simt::blocks_for(k, side),
                       static_cast<unsigned>(taps)};
  with_storage_type(dtype, [&]<class T>(T) {
    simt::launch(swap_channels_kernel<T>, grid, simt::Dim{threads}, 0, stream,
                 static_cast<T*>(swapped), static_cast<const T*>(w), k, c);
  });
}

template <>
void statistics_of_sums<simt::device>(const Conv2dStats& p, const Conv2dStats::Buffers& b,
                                      const float* sums, const float* squares,
                                      const Stream& stream) {
  using namespace UNETD_GPU;
  const Shape y = p.geometry.y();
  simt::launch(statistics_of_sums_kernel, simt::Dim{simt::blocks_for(y.c, threads)},
               simt::Dim{threads}, 0, stream, statistics_in(b), Smoothing{p.eps, p.momentum}, sums,
               squares, y.pixels(), y.c);
}

template <>
void norm_gradient<simt::device>(const Conv2dNormGrad& p, const Conv2dNormGrad::Buffers& b,
                                 void* workspace, const Stream& stream) {
  using namespace UNETD_GPU;
  const Shape x = p.geometry.x;
  const GradientVectors v = gradient_vectors(b, workspace, no_chunks(x));
  simt::launch(coefficients_of_gradient_kernel, simt::Dim{simt::blocks_for(x.c, threads)},
               simt::Dim{threads}, 0, stream, v, x.pixels(), x.c);
  write_gradient(b.dx, v, {b.x, b.dz, p.dtype, /*relu=*/false},
                 tiles_of(x.pixels(), x.c, pack_size(p.dtype, x.c)), stream);
}

template <>
size_t norm_gradient_workspace<simt::device>(const Conv2dNormGrad& p) {
  return UNETD_GPU::gradient_workspace(UNETD_GPU::no_chunks(p.geometry.x));
}

template <>
void widen<simt::device>(float* y, const void* x, DType dtype, int64_t count,
                         const Stream& stream) {
  using namespace UNETD_GPU;
  with_storage_type(dtype, [&]<class T>(T) {
    simt::launch(widen_kernel<T>, simt::Dim{simt::blocks_for(count, threads)}, simt::Dim{threads},
                 0, stream, y, static_cast<const T*>(x), count);
  });
}

}  // namespace unetd
