#include "kernels/cpu/register.h"

#include "kernels/cpu/cpu.h"

namespace unetd::UNETD_ISA {

void register_kernels() {
  register_batch_norm();
  register_blend_tile();
  register_classify();
  register_dropout();
  register_loss();
  register_maxpool2x2();
  register_optimizer();
  register_pointwise();
  register_prepare_patches();
  register_regression();
  register_shape_ops();
  register_softmax();
  register_resize_bilinear();
}

}  // namespace unetd::UNETD_ISA
