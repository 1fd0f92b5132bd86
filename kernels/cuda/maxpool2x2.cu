#include "engine/op/maxpool2x2.h"
#include "kernels/cuda/kernels.h"

#include <algorithm>

namespace unetd::UNETD_GPU {
namespace {

using simt::Dim;
using simt::load16;
using simt::Pack;
using simt::store16;

constexpr unsigned threads = 128;
constexpr unsigned max_rows_of_blocks = 65535;  // CUDA's limit for the second extent of a grid

// Both kernels: blockIdx.y strides over the rows of windows, and in a row one thread has one pack
// of channels of one window. So neighbouring threads touch neighbouring packs, and a thread divides
// small numbers only. Windows of the forward pass lie inside the image; those of the backward pass
// cover it, the last ones perhaps by half.
struct Windows {
  Shape x, y;
  unsigned rows, columns, rows_per_image;
  unsigned packs;  // per pixel
};

template <class T>
Windows windows(const Shape& x, const Shape& y, int64_t high, int64_t wide) {
  const auto packs = static_cast<unsigned>(x.c / Pack<T>::size);
  return {x,
          y,
          static_cast<unsigned>(x.n * high),
          static_cast<unsigned>(wide),
          static_cast<unsigned>(high),
          packs};
}

Dim grid(const Windows& w) {
  return {simt::blocks_for(int64_t{w.columns} * w.packs, threads),
          std::min(w.rows, max_rows_of_blocks)};
}

// The argmax of one pack: one access.
template <class T>
struct alignas(Pack<T>::size) Taps {
  uint8_t v[Pack<T>::size];
};

// NaN is more than any number, and the first of equals wins.
SIMT_DEVICE bool exceeds(float a, float b) { return a > b || (a != a && b == b); }

// Reads each input element once and writes y and one byte of argmax: per output element, 4 elements
// in, 1 element and 1 byte out.
template <class T>
__global__ void __launch_bounds__(threads)
    forward_kernel(T* __restrict__ y, uint8_t* __restrict__ argmax, const T* __restrict__ x,
                   Windows w) {
  const unsigned i = blockIdx.x * threads + threadIdx.x;
  if (i >= w.columns * w.packs) return;
  const unsigned column = i / w.packs;
  const int64_t channel = int64_t{i % w.packs} * Pack<T>::size;
  for (unsigned row = blockIdx.y; row < w.rows; row += gridDim.y) {
    const int64_t image = row / w.rows_per_image, top = int64_t{2} * (row % w.rows_per_image);
    const T* const corner =
        x + ((image * w.x.h + top) * w.x.w + 2 * int64_t{column}) * w.x.c + channel;
    Pack<T> best = load16(corner);
    Taps<T> taps{};
    SIMT_UNROLL
    for (int tap = 1; tap < 4; ++tap) {
      const Pack<T> value = load16(corner + (tap / 2 * w.x.w + tap % 2) * w.x.c);
      SIMT_UNROLL
      for (int k = 0; k < Pack<T>::size; ++k) {
        if (!exceeds(to_float(value.v[k]), to_float(best.v[k]))) continue;
        best.v[k] = value.v[k];
        taps.v[k] = static_cast<uint8_t>(tap);
      }
    }
    const int64_t out = (int64_t{row} * w.columns + column) * w.x.c + channel;
    store16(y + out, best);
    *reinterpret_cast<Taps<T>*>(argmax + out) = taps;
  }
}

// Writes each element of dx once: per output element, 1 element and 1 byte in, 4 elements out.
template <class T>
__global__ void __launch_bounds__(threads)
    backward_kernel(T* __restrict__ dx, const T* __restrict__ dy,
                    const uint8_t* __restrict__ argmax, Windows w) {
  const unsigned i = blockIdx.x * threads + threadIdx.x;
  if (i >= w.columns * w.packs) return;
  const int64_t column = i / w.packs, channel = int64_t{i % w.packs} * Pack<T>::size;
  for (unsigned row = blockIdx.y; row < w.rows; row += gridDim.y) {
    const int64_t image = row / w.rows_per_image, window = row % w.rows_per_image;
    Pack<T> gradient{};  // zero in windows that the forward pass left out
    Taps<T> taps{};
    if (window < w.y.h && column < w.y.w) {
      const int64_t out = ((image * w.y.h + window) * w.y.w + column) * w.x.c + channel;
      gradient = load16(dy + out);
      taps = *reinterpret_cast<const Taps<T>*>(argmax + out);
    }
    SIMT_UNROLL
    for (int tap = 0; tap < 4; ++tap) {
      const int64_t px = 2 * column + tap % 2, py = 2 * window + tap / 2;
      if (py >= w.x.h || px >= w.x.w) continue;
      Pack<T> part{};
      SIMT_UNROLL
      for (int k = 0; k < Pack<T>::size; ++k) {
        if (taps.v[k] == tap) part.v[k] = gradient.v[k];
      }
      store16(dx + ((image * w.x.h + py) * w.x.w + px) * w.x.c + channel, part);
    }
  }
}

void forward(const MaxPool2x2& p, const MaxPool2x2::Buffers& b, const Stream& stream) {
  const Shape y = p.y();
  if (y.count() == 0) return;
  with_storage_type(p.dtype, [&]<class T>(T) {
    const Windows w = windows<T>(p.x, y, y.h, y.w);
    simt::launch(forward_kernel<T>, grid(w), Dim{threads}, 0, stream, static_cast<T*>(b.y),
                 b.argmax, static_cast<const T*>(b.x), w);
  });
}

void backward(const MaxPool2x2Grad& p, const MaxPool2x2Grad::Buffers& b, const Stream& stream) {
  with_storage_type(p.dtype, [&]<class T>(T) {
    const Windows w = windows<T>(p.x, p.y(), (p.x.h + 1) / 2, (p.x.w + 1) / 2);
    simt::launch(backward_kernel<T>, grid(w), Dim{threads}, 0, stream, static_cast<T*>(b.dx),
                 static_cast<const T*>(b.dy), b.argmax, w);
  });
}

template <class P>
const char* reject(const P& p) {
  return reject_partial_packs(p.dtype, p.x.c);
}

}  // namespace

void register_maxpool2x2() {
  add<forward, MaxPool2x2>(reject);
  add<backward, MaxPool2x2Grad>(reject);
}

}  // namespace unetd::UNETD_GPU
