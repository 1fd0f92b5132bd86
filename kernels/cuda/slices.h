// Long sums cut into slices that blocks add up side by side: each slice has an f32 result of its
// own in the workspace, and a second kernel adds them in their order. So there are no atomics, and
// the same inputs give the same bits.
//
// add_slices_kernel: a thread per element of the result; reads it once a slice.
#pragma once

#include "kernels/simt/simt.h"

#include <algorithm>

namespace unetd::UNETD_GPU {

// Streaming multiprocessors of the cards that tiles and slices are chosen for (H100, H200; the A100
// has 108). A constant, so that sums have the same order on every card.
inline constexpr int64_t processors = 132;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Slices {
  int64_t count = 1;
  int64_t length = 0x7fffffff;  // of a slice; the last may be shorter
};

// At most `wanted` slices of a sum of `length` terms, none of less than `least` but for the last.
inline Slices cut(int64_t length, int64_t wanted, int64_t least) {
  const int64_t most = std::max<int64_t>(1, length / least);
  const int64_t each = std::max<int64_t>(1, ceil_div(length, std::clamp<int64_t>(wanted, 1, most)));
  return {std::max<int64_t>(1, ceil_div(length, each)), each};
}

// Of workspace, for results of so many elements. One slice is the result itself.
inline size_t slices_bytes(const Slices& s, int64_t elements) {
  return s.count > 1 ? static_cast<size_t>(s.count * elements) * sizeof(float) : 0;
}

inline constexpr unsigned slice_threads = 256;
template <class Store>
__global__ void __launch_bounds__(slice_threads)
    add_slices_kernel(Store store, const float* __restrict__ parts, int64_t elements,
                      int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * slice_threads + threadIdx.x;
  if (i >= elements) return;
  float sum = 0;
  for (int64_t slice = 0; slice < count; ++slice) sum += parts[slice * elements + i];
  store(i, sum);
}

// Calls store(i, sum) on the device for element i of the result.
template <class Store>
void add_slices(const Store& store, const float* parts, int64_t elements, const Slices& s,
                const Stream& stream) {
  simt::launch(add_slices_kernel<Store>, simt::Dim{simt::blocks_for(elements, slice_threads)},
               simt::Dim{slice_threads}, 0, stream, store, parts, elements, s.count);
}

}  // namespace unetd::UNETD_GPU
