// Sums over the pixels of each channel in two steps: blocks sum chunks of pixels and leave two rows
// of channels a chunk in the workspace, then a small kernel joins the chunks of each channel in
// double precision and in their order.
#pragma once

#include "kernels/cuda/reduce.h"

namespace unetd::UNETD_GPU {

// `chunks` times `chunk` pixels, of which the last chunk may have fewer.
struct Chunks {
  int64_t pixels, channels;
  int64_t chunk;
  unsigned chunks;

  // Of all chunks' rows.
  size_t floats() const { return static_cast<size_t>(chunks * 2 * channels); }
};
inline Chunks chunks_of(const Tiles& t) { return {t.pixels, t.channels, t.chunk, t.chunks}; }

// The two rows of a block's chunk.
template <int N>
SIMT_DEVICE void store_partial(float* partial, const Tiles& t, const Strip& s, const float (&a)[N],
                               const float (&b)[N]) {
  if (threadIdx.y != 0 || !s.inside) return;
  float* const row = partial + int64_t{blockIdx.y} * 2 * t.channels + s.channel;
  for (int k = 0; k < N; ++k) row[k] = a[k];
  for (int k = 0; k < N; ++k) row[t.channels + k] = b[k];
}

// The kernels that join chunks: blocks of 8 channels (a sector of memory) by 32 rows of threads.
inline constexpr unsigned join_channels = 8, join_rows = block_threads / join_channels;
inline Dim join_grid(int64_t channels, unsigned groups = 1) {
  return {simt::blocks_for(channels, join_channels), groups};
}
constexpr Dim join_block() { return {join_channels, join_rows}; }
SIMT_DEVICE int64_t join_channel() { return int64_t{blockIdx.x} * join_channels + threadIdx.x; }

// The sum of term(chunk) over the chunks from `begin` on; all threads of the block take part, those
// of channels that do not exist without reading.
template <class F>
SIMT_DEVICE double sum_chunks(unsigned begin, unsigned end, bool inside, const F& term) {
  double sum = 0;
  for (unsigned i = begin + threadIdx.y; inside && i < end; i += join_rows) sum += term(i);
  return join_columns(sum, Plus{});
}

}  // namespace unetd::UNETD_GPU
