// The language hand-written kernels are written in. A .cu file that includes this header and
// nothing of CUDA's compiles twice: by nvcc for the GPU (namespace unetd::cuda) and by g++ for the
// SIMT emulator (namespace unetd::simt_emu), which executes every GPU thread as a fiber on the CPU
// and reports out-of-bounds accesses, missing barriers, divergence and deadlocks.
//
// CUDA's own words where C++ can spell them: __global__, __device__, __launch_bounds__, threadIdx,
// blockIdx, blockDim, gridDim, __syncthreads(). Ours for the rest:
//
//   launch(kernel, grid, block, bytes, stream, args...) kernel<<<...>>>(args...)
//   SIMT_SHARED(T, name);                               __shared__ T name, aligned to 16 bytes
//   dynamic_shared<T>()                                 extern __shared__
//   shfl_xor, shfl_down, shfl_idx(value, lane[, mask])  __shfl_*_sync
//   ballot, any_of, all_of(predicate[, mask])           votes
//   warp_sync([mask])                                   __syncwarp
//   atomic_add, atomic_max(pointer, value); atomic_cas  atomicAdd, atomicMax, atomicCAS
//   thread_fence()                                      __threadfence
//   mma_m16n8k16<bf16 or f16>(d, a, b)                  mma.sync, f32 accumulators
//   ldmatrix, ldmatrix_trans(d, row), d of 1, 2, 4      ldmatrix.m8n8.b16
//   copy_async16(shared, global[, valid])               cp.async
//   copy_commit(), copy_wait<N>()                       cp.async.commit_group, wait_group
//   load<N>(p), store(p, pack)                          one access to N elements
//   load16(p), store16(p, pack)                         the same, to 16 bytes
//   SIMT_DEVICE                                         inline device function
//   SIMT_UNROLL, SIMT_LOOP                              #pragma unroll, unroll 1
//
// Rules that keep one source right on both sides: blocks do not wait for one another (the emulator
// runs them in turn), nothing but plain data lives on a kernel's stack, and 64-bit arithmetic
// indexes tensors.
#pragma once

#include "engine/base/error.h"
#include "engine/base/half.h"
#include "engine/device/device.h"

#include <cstddef>
#include <cstdint>

namespace unetd::simt {

// Extents of a grid or a block, and positions in them.
struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

inline constexpr int warp_size = 32;
inline constexpr unsigned full_warp = 0xffffffffU;

// Blocks of `threads` threads that cover `items` items. Throws Error beyond CUDA's limit of 2^31
// - 1.
inline unsigned blocks_for(int64_t items, unsigned threads) {
  const int64_t blocks = (items + threads - 1) / threads;
  UNETD_CHECK(items > 0 && blocks <= 0x7fffffff, "a grid of ", blocks, " blocks");
  return static_cast<unsigned>(blocks);
}

}  // namespace unetd::simt

#if defined(__CUDACC__)
#define UNETD_GPU cuda
#include "kernels/simt/gpu.h"  // IWYU pragma: export
#else
#define UNETD_GPU simt_emu
#include "kernels/simt/emulator.h"  // IWYU pragma: export
#endif

namespace unetd::simt {
// The two compilations differ in what follows, so it must not be one entity to the linker.
inline namespace UNETD_GPU {

// N consecutive elements that a thread moves in one access; sixteen bytes unless said otherwise.
template <class T, int N = 16 / static_cast<int>(sizeof(T))>
struct alignas(N * sizeof(T)) Pack {
  static constexpr int size = N;
  T v[N];
};

template <int N, class T>
SIMT_DEVICE Pack<T, N> load(const T* p) {
  if constexpr (sizeof(Pack<T, N>) == 16) check_aligned16(p);
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <class T, int N>
SIMT_DEVICE void store(T* p, const Pack<T, N>& value) {
  if constexpr (sizeof value == 16) check_aligned16(p);
  *reinterpret_cast<Pack<T, N>*>(p) = value;
}

template <class T>
SIMT_DEVICE Pack<T> load16(const T* p) {
  return load<Pack<T>::size>(p);
}
template <class T>
SIMT_DEVICE void store16(T* p, const Pack<T>& value) {
  store(p, value);
}

}  // namespace UNETD_GPU
}  // namespace unetd::simt
