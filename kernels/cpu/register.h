// Hand-written CPU kernels on blocks of 16 channels, one namespace per instruction set.
#pragma once

namespace unetd::avx512 {
void register_kernels();
}
namespace unetd::avx2 {
void register_kernels();
}
