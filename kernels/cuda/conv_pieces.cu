#include "kernels/cuda/conv_pieces.h"
#include "kernels/cuda/kernels.h"

#include <algorithm>

namespace unetd::UNETD_GPU {
namespace {

using simt::Dim;

constexpr unsigned threads = 256;

// A block covers `lanes` neighbouring channels of pixels that its rows of threads take in turn, so
// a thread stays with its channel.
constexpr unsigned lanes = 32, rows = threads / lanes;
using Rows = float[rows][lanes];

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

// partial[chunk, c]. The order of the sum depends on the sizes alone.
template <class T>
__global__ void __launch_bounds__(threads)
    chunk_sums_kernel(float* __restrict__ partial, const T* __restrict__ x, int64_t pixels,
                      int64_t channels) {
  SIMT_SHARED(Rows, sums);
  const int64_t channel = own_channel();
  const unsigned lane = threadIdx.x % lanes, row = threadIdx.x / lanes;
  float sum = 0;
  if (channel < channels) {
    for (int64_t pixel = first_pixel(); pixel < pixels; pixel += pixel_step()) {
      sum += to_float(x[pixel * channels + channel]);
    }
  }
  sums[row][lane] = sum;
  __syncthreads();
  if (row != 0 || channel >= channels) return;
  for (unsigned other = 1; other < rows; ++other) sum += sums[other][lane];
  partial[blockIdx.y * channels + channel] = sum;
}

__global__ void __launch_bounds__(threads)
    join_sums_kernel(float* __restrict__ sums, const float* __restrict__ partial, int64_t chunks,
                     int64_t channels) {
  const int64_t channel = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (channel >= channels) return;
  float sum = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * channels + channel];
  sums[channel] = sum;
}

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
  const int64_t chunks = channel_sum_chunks(pixels);
  auto* const partial = static_cast<float*>(workspace);
  with_storage_type(dtype, [&]<class T>(T) {
    simt::launch(chunk_sums_kernel<T>, grid_of(chunks, channels), simt::Dim{threads}, 0, stream,
                 partial, static_cast<const T*>(x), pixels, channels);
  });
  simt::launch(join_sums_kernel, simt::Dim{simt::blocks_for(channels, threads)}, simt::Dim{threads},
               0, stream, sums, partial, chunks, channels);
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
void widen<simt::device>(float* y, const void* x, DType dtype, int64_t count,
                         const Stream& stream) {
  using namespace UNETD_GPU;
  with_storage_type(dtype, [&]<class T>(T) {
    simt::launch(widen_kernel<T>, simt::Dim{simt::blocks_for(count, threads)}, simt::Dim{threads},
                 0, stream, y, static_cast<const T*>(x), count);
  });
}

}  // namespace unetd
