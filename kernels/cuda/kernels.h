// What the .cu files share on the host: how a kernel enters the registry, and why it declines.
#pragma once

#include "engine/op/registry.h"
#include "kernels/common/access.h"
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

// The same for a class K derived from Kernel<P>, which may ask for scratch memory.
template <class K, class P>
void add(const char* (*reject)(const P&)) {
  add_kernel<P, K>(simt::device, "cuda", reject);
}

// Why kernels that dispatch by with_storage_type decline, or null.
template <class P>
const char* only_storage_types(const P& p) {
  const bool takes = p.dtype == DType::f32 || p.dtype == DType::bf16 || p.dtype == DType::f16;
  return takes ? nullptr : "only f32, bf16 and f16";
}
template <class P>
const char* only_f32(const P& p) {
  return p.dtype == DType::f32 ? nullptr : "only f32";
}

void register_batch_norm();
void register_batch_norm_pool();
void register_blend_tile();
void register_cast();
void register_classify();
void register_conv2d();
void register_conv2d_data_grad();
void register_conv2d_norm_grad();
void register_conv2d_weight_grad();
void register_conv_transpose2x2();
void register_dropout();
void register_loss();
void register_maxpool2x2();
void register_optimizer();
void register_pointwise();
void register_prepare_patches();
void register_regression();
void register_shape_ops();
void register_tversky_loss();
void register_resize_bilinear();

}  // namespace unetd::UNETD_GPU
