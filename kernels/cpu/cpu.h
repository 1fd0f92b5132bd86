// What the files of this folder register, and the reason they share for declining a problem.
#pragma once

#include "engine/op/registry.h"

namespace unetd::UNETD_ISA {

void register_batch_norm();
void register_blend_tile();
void register_classify();
void register_dropout();
void register_loss();
void register_maxpool2x2();
void register_optimizer();
void register_pointwise();
void register_prepare_patches();
void register_regression();
void register_shape_ops();
void register_softmax();
void register_resize_bilinear();

// These kernels compute in f32 only.
template <class P>
const char* f32_only(const P& p) {
  return p.dtype == DType::f32 ? nullptr : "f32 only";
}

}  // namespace unetd::UNETD_ISA
