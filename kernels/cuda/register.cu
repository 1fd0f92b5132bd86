#include "kernels/cuda/kernels.h"
#include "kernels/cuda/register.h"

namespace unetd::UNETD_GPU {

void register_kernels() {
  register_batch_norm();
  register_batch_norm_pool();
  register_blend_tile();
  register_cast();
  register_classify();
  register_conv2d();
  register_conv2d_data_grad();
  register_conv2d_norm_grad();
  register_conv2d_weight_grad();
  register_conv_transpose2x2();
  register_dropout();
  register_loss();
  register_maxpool2x2();
  register_optimizer();
  register_pointwise();
  register_prepare_patches();
  register_regression();
  register_shape_ops();
  register_tversky_loss();
  register_resize_bilinear();
}

}  // namespace unetd::UNETD_GPU
