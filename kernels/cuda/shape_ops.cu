// Concatenation, its inverse, padding and cropping: every byte that moves is read once and written
// once. Concatenation and its inverse take the joined image in tiles of channels, a thread copies
// one pack of channels of many pixels. Padding takes the result in rows, a thread copies one pack.
#include "engine/op/shape_ops.h"
#include "kernels/cuda/pack.h"

#include <numeric>

namespace unetd::UNETD_GPU {
namespace {

// Two groups of channels, side by side in one image or in two: where they begin, and how far it is
// to the next pixel.
template <class T>
struct Halves {
  T *a, *b;
  int64_t a_step, b_step;
};

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    copy_kernel(Halves<T> to, Halves<const T> from, int64_t ca, Tiles t) {
  const Strip s = strip_in<N>(t);
  const bool first = s.channel < ca;
  const int64_t c = first ? s.channel : s.channel - ca;
  T* __restrict__ out = (first ? to.a : to.b) + c;
  const T* __restrict__ in = (first ? from.a : from.b) + c;
  const int64_t out_step = first ? to.a_step : to.b_step;
  const int64_t in_step = first ? from.a_step : from.b_step;
  for (int64_t i = s.first; i < s.end; i += t.high) {
    simt::store(out + i * out_step, simt::load<N>(in + i * in_step));
  }
}

void concat(const ConcatChannels& p, const ConcatChannels::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, std::gcd(p.a.c, p.cb), [&]<class T, int N>(Pack<T, N>) {
    const int64_t c = p.a.c + p.cb;
    T* y = static_cast<T*>(b.y);
    const Tiles t = tiles_of(p.a.pixels(), c, N);
    simt::launch(
        copy_kernel<T, N>, t.grid(), t.block(), 0, stream, Halves<T>{y, y + p.a.c, c, c},
        Halves<const T>{static_cast<const T*>(b.a), static_cast<const T*>(b.b), p.a.c, p.cb}, p.a.c,
        t);
  });
}

void split(const SplitChannels& p, const SplitChannels::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, std::gcd(p.a.c, p.cb), [&]<class T, int N>(Pack<T, N>) {
    const int64_t c = p.a.c + p.cb;
    const T* y = static_cast<const T*>(b.y);
    const Tiles t = tiles_of(p.a.pixels(), c, N);
    simt::launch(copy_kernel<T, N>, t.grid(), t.block(), 0, stream,
                 Halves<T>{static_cast<T*>(b.a), static_cast<T*>(b.b), p.a.c, p.cb},
                 Halves<const T>{y, y + p.a.c, c, c}, p.a.c, t);
  });
}

// `r` has the rows of y.
template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    pad_kernel(T* __restrict__ y, const T* __restrict__ x, Shape in, int64_t top, int64_t left,
               Rows r) {
  const Place at = place_in<N>(r);
  if (!at.inside) return;
  const int64_t w = at.column - left;
  for (unsigned row = blockIdx.y; row < r.rows; row += gridDim.y) {
    const int64_t n = row / r.high, h = int64_t{row % r.high} - top;
    Pack<T, N> value{};
    if (h >= 0 && h < in.h && w >= 0 && w < in.w) {
      value = simt::load<N>(x + ((n * in.h + h) * in.w + w) * in.c + at.channel);
    }
    simt::store(y + (int64_t{row} * r.columns + at.column) * in.c + at.channel, value);
  }
}

void pad(const Pad2d& p, const Pad2d::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, p.x.c, [&]<class T, int N>(Pack<T, N>) {
    const Rows r = rows_of<N>(p.y());
    simt::launch(pad_kernel<T, N>, r.grid(), Dim{block_threads}, 0, stream, static_cast<T*>(b.y),
                 static_cast<const T*>(b.x), p.x, p.top, p.left, r);
  });
}

}  // namespace

void register_shape_ops() {
  add<concat, ConcatChannels>(only_storage_types);
  add<split, SplitChannels>(only_storage_types);
  add<pad, Pad2d>(only_storage_types);
}

}  // namespace unetd::UNETD_GPU
