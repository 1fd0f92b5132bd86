#include "kernels/cuda/kernels.h"
#include "kernels/cuda/register.h"

namespace unetd::UNETD_GPU {

void register_kernels() { register_maxpool2x2(); }

}  // namespace unetd::UNETD_GPU
