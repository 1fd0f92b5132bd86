// Convolutions as matrix products by Eigen, for the cpu device in f32: always there, for any
// window, and the same bits for any number of threads.
#pragma once

namespace unetd::eigen {

void register_kernels();

}  // namespace unetd::eigen
