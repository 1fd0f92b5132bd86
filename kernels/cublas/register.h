// Convolutions that are matrix products, by cuBLASLt, for the device cuda: 1x1 convolutions with
// stride 1, and transposed 2x2 convolutions with a copy to and from a matrix of taps. With their
// gradients, in f32 (without TF32), bf16 and f16; gradients of filters are written in f32.
#pragma once

#include <string>

namespace unetd::cublas {

// Each family apart, so that the order of preference is decided where all back ends are listed.
// GPUs and cuBLAS are first touched when a problem is looked at, not here.
void register_conv2d();
void register_conv_transpose2x2();
std::string library();  // its name and version

}  // namespace unetd::cublas
