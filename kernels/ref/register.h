// The reference implementations: plain loops with double accumulation, for f32 and f64. They define
// what is right; every other implementation is tested against them, and they take what others
// decline.
#pragma once

namespace unetd::ref {

// Appends "ref" to the CPU list of every problem; to be called after all other implementations.
void register_kernels();

// One per file.
void register_conv2d();
void register_conv_transpose2x2();
void register_batch_norm();
void register_blend_tile();
void register_classify();
void register_pointwise();
void register_cast();
void register_maxpool2x2();
void register_resize_bilinear();
void register_shape_ops();
void register_dropout();
void register_loss();
void register_optimizer();
void register_prepare_patches();
void register_regression();

}  // namespace unetd::ref
