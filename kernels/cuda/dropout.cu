// Dropout: reads x and writes y. A thread has a pack of channels of one pixel in each of its rows,
// and draws four random numbers for each four channels.
#include "engine/op/dropout.h"
#include "kernels/cuda/pack.h"

namespace unetd::UNETD_GPU {
namespace {

// Without an array that is indexed at run time, which would lie in local memory.
SIMT_DEVICE uint32_t word_of(const PhiloxWords& words, int64_t channel) {
  const uint32_t low = (channel & 1) != 0 ? words.v[1] : words.v[0];
  const uint32_t high = (channel & 1) != 0 ? words.v[3] : words.v[2];
  return (channel & 2) != 0 ? high : low;
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    dropout_kernel(T* __restrict__ y, const T* __restrict__ x, const int64_t* __restrict__ batch,
                   Dropout p, Rows r) {
  const Place at = place_in<N>(r);
  if (!at.inside) return;
  const float scale = p.scale();
  constexpr int group = N < 4 ? N : 4;
  for (unsigned row = blockIdx.y; row < r.rows; row += gridDim.y) {
    const int64_t pixel = int64_t{row} * r.columns + at.column;
    const int64_t first = pixel * p.shape.c + at.channel;
    Floats<N> value = load_floats<N>(x + first);
    SIMT_UNROLL
    for (int g = 0; g < N; g += group) {
      const int64_t channel = at.channel + g;
      const PhiloxWords words = dropout_words(p.seed, *batch, pixel, channel / 4);
      SIMT_UNROLL
      for (int k = 0; k < group; ++k) {
        const bool kept = dropout_keeps(word_of(words, channel + k), p.rate);
        value.v[g + k] = kept ? value.v[g + k] * scale : 0.F;
      }
    }
    store_floats(y + first, value);
  }
}

void dropout(const Dropout& p, const Dropout::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, p.shape.c, [&]<class T, int N>(Pack<T, N>) {
    const Rows r = rows_of<N>(p.shape);
    simt::launch(dropout_kernel<T, N>, r.grid(), Dim{block_threads}, 0, stream,
                 static_cast<T*>(b.y), static_cast<const T*>(b.x), b.batch, p, r);
  });
}

}  // namespace

void register_dropout() { add<dropout, Dropout>(only_storage_types); }

}  // namespace unetd::UNETD_GPU
