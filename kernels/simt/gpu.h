// The nvcc half of simt.h: CUDA's intrinsics and inline PTX (sm_80 and later). Include simt.h
// instead.
#pragma once

#include "engine/device/cuda_error.h"

#include <type_traits>

#include <cuda_runtime.h>

#define SIMT_DEVICE __device__ __forceinline__
#define SIMT_SHARED(T, name) __shared__ __align__(16) T name
#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_LOOP _Pragma("unroll 1")

namespace unetd::simt {
// Apart from the emulator's functions of the same names, for the linker.
inline namespace UNETD_GPU {

inline constexpr DeviceType device = DeviceType::cuda;

template <class... P, class... A>
void launch(void (*kernel)(P...), Dim grid, Dim block, size_t dynamic_bytes, const Stream& stream,
            A... args) {
  constexpr size_t without_opt_in = size_t{48} << 10;
  if (dynamic_bytes > without_opt_in) {
    unetd::cuda::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            static_cast<int>(dynamic_bytes)),
                       "dynamic shared memory");
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid.x, grid.y, grid.z);
  config.blockDim = dim3(block.x, block.y, block.z);
  config.dynamicSmemBytes = dynamic_bytes;
  config.stream = static_cast<cudaStream_t>(stream.native);
  unetd::cuda::check(cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...), "kernel launch");
}

template <class T>
SIMT_DEVICE T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char simt_dynamic_shared[];
  return reinterpret_cast<T*>(simt_dynamic_shared);
}

// A misaligned vector access faults on the device anyway.
SIMT_DEVICE void check_aligned16(const void*) {}

// --- warps ---------------------------------------------------------------------------------------

template <class T>
SIMT_DEVICE T shfl_xor(T value, int lane_mask, unsigned mask = full_warp) {
  return __shfl_xor_sync(mask, value, lane_mask);
}
template <class T>
SIMT_DEVICE T shfl_down(T value, int delta, unsigned mask = full_warp) {
  return __shfl_down_sync(mask, value, static_cast<unsigned>(delta));
}
template <class T>
SIMT_DEVICE T shfl_idx(T value, int lane, unsigned mask = full_warp) {
  return __shfl_sync(mask, value, lane);
}
SIMT_DEVICE unsigned ballot(bool predicate, unsigned mask = full_warp) {
  return __ballot_sync(mask, predicate);
}
SIMT_DEVICE bool any_of(bool predicate, unsigned mask = full_warp) {
  return __any_sync(mask, predicate) != 0;
}
SIMT_DEVICE bool all_of(bool predicate, unsigned mask = full_warp) {
  return __all_sync(mask, predicate) != 0;
}
SIMT_DEVICE void warp_sync(unsigned mask = full_warp) { __syncwarp(mask); }

// --- memory --------------------------------------------------------------------------------------

template <class T>
SIMT_DEVICE T atomic_add(T* p, T value) {
  return atomicAdd(p, value);
}
template <class T>
SIMT_DEVICE T atomic_max(T* p, T value) {
  return atomicMax(p, value);
}
template <class T>
SIMT_DEVICE T atomic_cas(T* p, T expected, T desired) {
  return atomicCAS(p, expected, desired);
}
SIMT_DEVICE void thread_fence() { __threadfence(); }

namespace detail {
SIMT_DEVICE unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}
}  // namespace detail

SIMT_DEVICE void copy_async16(void* shared, const void* global, bool valid = true) {
  // Fewer source than destination bytes: the rest is filled with zeros, and with none nothing is
  // read.
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(detail::shared_address(shared)),
      "l"(global), "r"(valid ? 16 : 0)
      : "memory");
}
SIMT_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending>
SIMT_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// --- tensor cores --------------------------------------------------------------------------------

#define UNETD_LDMATRIX(form)                                                      \
  static_assert(N == 1 || N == 2 || N == 4);                                      \
  const unsigned address = detail::shared_address(row);                           \
  if constexpr (N == 1) {                                                         \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" form ".b16 {%0}, [%1];"          \
                 : "=r"(d[0])                                                     \
                 : "r"(address)                                                   \
                 : "memory");                                                     \
  } else if constexpr (N == 2) {                                                  \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" form ".b16 {%0,%1}, [%2];"       \
                 : "=r"(d[0]), "=r"(d[1])                                         \
                 : "r"(address)                                                   \
                 : "memory");                                                     \
  } else {                                                                        \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" form ".b16 {%0,%1,%2,%3}, [%4];" \
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])                 \
                 : "r"(address)                                                   \
                 : "memory");                                                     \
  }                                                                               \
  static_assert(true)

template <int N>
SIMT_DEVICE void ldmatrix(uint32_t (&d)[N], const void* row) {
  UNETD_LDMATRIX(".shared");
}
template <int N>
SIMT_DEVICE void ldmatrix_trans(uint32_t (&d)[N], const void* row) {
  UNETD_LDMATRIX(".trans.shared");
}
#undef UNETD_LDMATRIX

#define UNETD_MMA(type)                                                  \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type    \
               ".f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};" \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])          \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

template <class T>
SIMT_DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, f16>);
  if constexpr (std::is_same_v<T, bf16>) {
    UNETD_MMA("bf16");
  } else {
    UNETD_MMA("f16");
  }
}
#undef UNETD_MMA

}  // namespace UNETD_GPU
}  // namespace unetd::simt
