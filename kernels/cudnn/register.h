// Convolutions by cuDNN, for the device cuda: conv2d and conv_transpose2x2 with their gradients, in
// f32 (without TF32), bf16 and f16.
//
// Where cuDNN has a kernel with bias and ReLU fused it is used, else ours add them. cuDNN gives
// filter gradients of 16-bit types in the 16-bit type: their sums are in f32, but what arrives in
// the f32 gradient was rounded once to the storage type, and sums beyond 65504 are infinite in f16.
#pragma once

#include <string>

namespace unetd::cudnn {

// Each family apart, so that the order of preference is decided where all back ends are listed.
// GPUs and cuDNN are first touched when a problem is looked at, not here.
void register_conv2d();
void register_conv_transpose2x2();
std::string library();  // its name and version

}  // namespace unetd::cudnn
