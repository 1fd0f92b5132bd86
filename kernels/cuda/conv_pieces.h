// What the convolutions of libraries leave undone: bias and ReLU where no fused kernel takes them,
// gradients of biases, gradients of filters in f32, statistics from sums, the last pass of a batch
// norm's gradient. For the devices cuda and simt, dense NHWC.
#pragma once

#include "engine/base/dtype.h"
#include "engine/device/device.h"
#include "engine/op/conv2d_norm_grad.h"
#include "engine/op/conv2d_stats.h"

#include <cstddef>
#include <cstdint>

namespace unetd {

// y += bias (f32, one a channel; null: none), then max(0, y) with `relu`; in place. y: `pixels` of
// `channels` of f32, bf16 or f16. Throw Error for other types, as all of these.
template <DeviceType device>
void add_bias(void* y, const void* bias, bool relu, DType dtype, int64_t pixels, int64_t channels,
              const Stream& stream);

// sums[c] = sum over pixels of x[pixel, c], in f32 and a fixed order. `workspace` has the bytes of
// channel_sums_workspace().
template <DeviceType device>
void channel_sums(float* sums, const void* x, DType dtype, int64_t pixels, int64_t channels,
                  void* workspace, const Stream& stream);
template <DeviceType device>
size_t channel_sums_workspace(int64_t pixels, int64_t channels);

// swapped (c, taps, k) from w (k, taps, c): the filter of a transposed convolution as that of the
// convolution whose transpose it is.
template <DeviceType device>
void swap_channels(void* swapped, const void* w, DType dtype, int64_t k, int64_t taps, int64_t c,
                   const Stream& stream);

// The problem's statistics from the sums over pixels of y and of y^2, one a channel. A variance
// that comes out below zero is zero: see kernels/cudnn/register.h for what is left of a small one.
template <DeviceType device>
void statistics_of_sums(const Conv2dStats& p, const Conv2dStats::Buffers& b, const float* sums,
                        const float* squares, const Stream& stream);

// The problem's dx from dz, dgamma and dbeta. `workspace` has the bytes of
// norm_gradient_workspace().
template <DeviceType device>
void norm_gradient(const Conv2dNormGrad& p, const Conv2dNormGrad::Buffers& b, void* workspace,
                   const Stream& stream);
template <DeviceType device>
size_t norm_gradient_workspace(const Conv2dNormGrad& p);

// y = x, from bf16, f16 or f32 to f32.
template <DeviceType device>
void widen(float* y, const void* x, DType dtype, int64_t count, const Stream& stream);

}  // namespace unetd
