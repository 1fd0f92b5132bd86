// What the .cu files share on the host: how a kernel enters the registry, and the choice of its
// template by element type.
#pragma once

#include "engine/op/registry.h"
#include "kernels/simt/simt.h"

#include <utility>

namespace unetd::UNETD_GPU {

namespace detail {
template <class P, auto run_function>
struct LaunchKernel final : Kernel<P> {
  explicit LaunchKernel(const P& p) : problem(p) {}
  void run(const typename P::Buffers& buffers, void*, Stream& stream) const override {
    run_function(problem, buffers, stream);
  }
  P problem;
};
}  // namespace detail

// Registers run_function(problem, buffers, stream), which launches without scratch memory, for the
// device that this file is compiled for.
template <auto run_function, class P>
void add(const char* (*reject)(const P&)) {
  add_kernel<P, detail::LaunchKernel<P, run_function>>(simt::device, "cuda", reject);
}

// Calls f(T{}) with T = float, bf16 or f16. Throws Error for other element types.
template <class F>
void with_storage_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(bf16{});
    case DType::f16:
      return f(f16{});
    default:
      throw Error(str("element type ", name_of(dtype), " in a CUDA kernel"));
  }
}

// Why kernels that move 16-byte packs of channels decline, or null.
inline const char* reject_partial_packs(DType dtype, int64_t channels) {
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::f16) {
    return "only f32, bf16 and f16";
  }
  const auto pack = static_cast<int64_t>(16 / size_of(dtype));
  return channels % pack == 0 ? nullptr : "channels do not fill 16-byte packs";
}

void register_conv2d();
void register_conv2d_data_grad();
void register_conv2d_weight_grad();
void register_conv_transpose2x2();
void register_maxpool2x2();

}  // namespace unetd::UNETD_GPU
