// Max-pooling. Forward: per output element, 4 elements in, 1 element and 1 byte out. Backward: per
// output element, 1 element and 1 byte in, 4 elements out. Windows are taken in rows, a thread has
// one pack of channels of one window. Windows of the forward pass lie inside the image; those of
// the backward pass cover it, the last ones perhaps by half.
#include "engine/op/maxpool2x2.h"
#include "kernels/cuda/pack.h"

namespace unetd::UNETD_GPU {
namespace {

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    forward_kernel(T* __restrict__ y, uint8_t* __restrict__ argmax, const T* __restrict__ x,
                   Shape in, Rows windows) {
  const Place at = place_in<N>(windows);
  if (!at.inside) return;
  for (unsigned row = blockIdx.y; row < windows.rows; row += gridDim.y) {
    const int64_t image = row / windows.high, top = int64_t{2} * (row % windows.high);
    const T* const corner = x + ((image * in.h + top) * in.w + 2 * at.column) * in.c + at.channel;
    Pack<T, N> best = simt::load<N>(corner);
    Pack<uint8_t, N> taps{};
    SIMT_UNROLL
    for (int tap = 1; tap < 4; ++tap) {
      const Pack<T, N> value = simt::load<N>(corner + (tap / 2 * in.w + tap % 2) * in.c);
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) {
        if (!exceeds(to_float(value.v[k]), to_float(best.v[k]))) continue;
        best.v[k] = value.v[k];
        taps.v[k] = static_cast<uint8_t>(tap);
      }
    }
    const int64_t out = (int64_t{row} * windows.columns + at.column) * in.c + at.channel;
    simt::store(y + out, best);
    simt::store(argmax + out, taps);
  }
}

// `out` is the shape of dy, which has no windows for an odd last row or column.
template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    backward_kernel(T* __restrict__ dx, const T* __restrict__ dy,
                    const uint8_t* __restrict__ argmax, Shape in, Shape out, Rows windows) {
  const Place at = place_in<N>(windows);
  if (!at.inside) return;
  for (unsigned row = blockIdx.y; row < windows.rows; row += gridDim.y) {
    const int64_t image = row / windows.high, window = row % windows.high;
    Pack<T, N> gradient{};
    Pack<uint8_t, N> taps{};
    if (window < out.h && at.column < out.w) {
      const int64_t i = ((image * out.h + window) * out.w + at.column) * in.c + at.channel;
      gradient = simt::load<N>(dy + i);
      taps = simt::load<N>(argmax + i);
    }
    SIMT_UNROLL
    for (int tap = 0; tap < 4; ++tap) {
      const int64_t px = 2 * at.column + tap % 2, py = 2 * window + tap / 2;
      if (py >= in.h || px >= in.w) continue;
      Pack<T, N> part{};
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) {
        if (taps.v[k] == tap) part.v[k] = gradient.v[k];
      }
      simt::store(dx + ((image * in.h + py) * in.w + px) * in.c + at.channel, part);
    }
  }
}

void forward(const MaxPool2x2& p, const MaxPool2x2::Buffers& b, const Stream& stream) {
  if (p.y().count() == 0) return;
  with_pack(p.dtype, p.x.c, [&]<class T, int N>(Pack<T, N>) {
    const Rows windows = rows_of<N>(p.y());
    simt::launch(forward_kernel<T, N>, windows.grid(), Dim{block_threads}, 0, stream,
                 static_cast<T*>(b.y), b.argmax, static_cast<const T*>(b.x), p.x, windows);
  });
}

void backward(const MaxPool2x2Grad& p, const MaxPool2x2Grad::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, p.x.c, [&]<class T, int N>(Pack<T, N>) {
    const Rows windows = rows_of<N>({p.x.n, (p.x.h + 1) / 2, (p.x.w + 1) / 2, p.x.c});
    simt::launch(backward_kernel<T, N>, windows.grid(), Dim{block_threads}, 0, stream,
                 static_cast<T*>(b.dx), static_cast<const T*>(b.dy), b.argmax, p.x, p.y(), windows);
  });
}

}  // namespace

void register_maxpool2x2() {
  add<forward, MaxPool2x2>(only_storage_types);
  add<backward, MaxPool2x2Grad>(only_storage_types);
}

}  // namespace unetd::UNETD_GPU
