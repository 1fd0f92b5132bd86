#include "kernels/ref/register.h"

namespace unetd::ref {

void register_kernels() {
  register_conv2d();
  register_conv_transpose2x2();
  register_batch_norm();
  register_pointwise();
  register_cast();
  register_maxpool2x2();
  register_resize_bilinear();
  register_shape_ops();
  register_dropout();
  register_loss();
  register_regression();
  register_optimizer();
  register_classify();
  register_blend_tile();
  register_prepare_patches();
}

}  // namespace unetd::ref
