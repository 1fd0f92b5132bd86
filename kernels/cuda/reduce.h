// Sums and other joins over threads, always in the same order: the same bits in every run.
#pragma once

#include "kernels/cuda/pack.h"

namespace unetd::UNETD_GPU {

struct Plus {
  template <class V>
  SIMT_DEVICE V operator()(const V& a, const V& b) const {
    return a + b;
  }
};
struct Larger {
  SIMT_DEVICE float operator()(float a, float b) const { return a > b ? a : b; }
};

// Over `lanes` neighbouring lanes of a warp, a power of two; every lane has the result. All lanes
// of the warp must call it.
template <class V, class Join>
SIMT_DEVICE V join_lanes(V value, unsigned lanes, const Join& join) {
  for (unsigned distance = lanes / 2; distance > 0; distance /= 2) {
    value = join(value, simt::shfl_xor(value, static_cast<int>(distance)));
  }
  return value;
}

// Over the threads of a block that share threadIdx.x; each of them has the result. All threads of
// the block must call it.
template <class V, class Join>
SIMT_DEVICE V join_columns(V value, const Join& join) {
  using Slots = V[block_threads];
  SIMT_SHARED(Slots, slots);
  const unsigned self = threadIdx.y * blockDim.x + threadIdx.x;
  __syncthreads();  // a join before this one may still be reading
  slots[self] = value;
  for (unsigned rows = blockDim.y; rows > 1;) {
    const unsigned half = (rows + 1) / 2;
    __syncthreads();
    if (threadIdx.y + half < rows) slots[self] = join(slots[self], slots[self + half * blockDim.x]);
    rows = half;
  }
  __syncthreads();
  return slots[threadIdx.x];
}

// Over all threads of a block of 256; each of them has the result.
template <class V>
SIMT_DEVICE V block_sum(V value) {
  constexpr unsigned warps = block_threads / simt::warp_size;
  using Slots = V[warps];
  SIMT_SHARED(Slots, slots);
  const unsigned self = threadIdx.y * blockDim.x + threadIdx.x;
  value = join_lanes(value, simt::warp_size, Plus{});
  __syncthreads();  // a sum before this one may still be reading
  if (self % simt::warp_size == 0) slots[self / simt::warp_size] = value;
  __syncthreads();
  V sum = slots[0];
  for (unsigned w = 1; w < warps; ++w) sum = sum + slots[w];
  return sum;
}

}  // namespace unetd::UNETD_GPU
