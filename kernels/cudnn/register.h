// Convolutions by cuDNN, for the device cuda: conv2d and conv_transpose2x2 with their gradients, in
// f32 (without TF32), bf16 and f16.
//
// Where cuDNN has a kernel with bias and ReLU fused it is used, else ours add them.
#pragma once

#include <string>

namespace unetd::cudnn {

// Each family apart, so that the order of preference is decided where all back ends are listed.
// GPUs and cuDNN are first touched when a problem is looked at, not here.
void register_conv2d();
void register_conv_transpose2x2();
std::string library();  // its name and version

// What is to stand behind the hand-written kernels, which take everything, so that it is used by
// name only: it does not keep the numerics contract (Impl::rounds_to_storage).
// - Filter gradients of 16-bit types, which cuDNN gives in the 16-bit type: their sums are in f32,
//   but what arrives in the f32 gradient was rounded once, and sums beyond 65504 are infinite in
//   f16.
// - conv2d_stats in f16. cuDNN sums y and y^2 in f32; their difference leaves the variance with a
//   relative error of some 1e-7 (mean / standard deviation)^2, which is nothing to rely on where
//   means are a thousand deviations from zero. Ours does not cancel.
// - conv2d_norm_grad in f16. Whether its sums are of dz before or after it is rounded cuDNN does
// not
//   say.
void register_last();

}  // namespace unetd::cudnn
