#include "kernels/cuda/kernels.h"
#include "kernels/cuda/register.h"

namespace unetd::UNETD_GPU {

void register_kernels() {
  register_conv2d();
  register_conv2d_data_grad();
  register_conv2d_weight_grad();
  register_conv_transpose2x2();
  register_maxpool2x2();
}

}  // namespace unetd::UNETD_GPU
