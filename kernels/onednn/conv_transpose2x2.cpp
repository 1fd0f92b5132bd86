// conv_transpose2x2 and its gradients as a 1x1 convolution to four times the channels, one group of
// 16 per tap: `taps` below, (n, k/16, 4, h, w, 16). The layout of transposed filters is the 1x1
// filter's for exactly this order. A pixel shuffle leads from `taps` to the image and back.
// oneDNN's own deconvolution is not used: it reaches a fifth of the speed.
#include "engine/op/conv_transpose2x2.h"

#include "engine/base/threads.h"
#include "kernels/onednn/call.h"

#include <algorithm>

namespace unetd::onednn {
namespace {

constexpr int64_t taps_of_block = 4;
constexpr dnnl::algorithm direct = dnnl::algorithm::convolution_direct;

ConvGeometry as_conv1x1(const UpConvGeometry& g) {
  return {.x = g.x, .k = taps_of_block * padded(g.k), .r = 1, .s = 1, .stride = 1, .pad = 0};
}

size_t taps_bytes(const UpConvGeometry& g) {
  return static_cast<size_t>(g.y().pixels() * padded(g.k)) * sizeof(float);
}

// Calls row(even, odd, out, block) for each image row `out` of 2w pixels and the two rows of `taps`
// that hold its even and odd pixels.
template <class T, class Row>
void for_each_row(const UpConvGeometry& g, T* taps, auto* image, Row&& row) {
  const int64_t h = g.x.h, line = g.x.w * block;
  parallel_for(g.x.n * blocks(g.k) * 2 * h, [&](int64_t i) {
    const int64_t nk = i / (2 * h), y = i % (2 * h);
    T* even = taps + ((nk * taps_of_block + y % 2 * 2) * h + y / 2) * line;
    row(even, even + h * line, image + i * 2 * line, nk % blocks(g.k));
  });
}

void shuffle(const UpConvGeometry& g, const float* taps, const float* bias, float* y) {
  static constexpr float no_bias[block] = {};
  for_each_row(g, taps, y, [&](const float* even, const float* odd, float* out, int64_t kb) {
    const float* b = bias == nullptr ? no_bias : bias + kb * block;
    for (int64_t j = 0; j < g.x.w; ++j, even += block, odd += block, out += 2 * block) {
      for (int64_t lane = 0; lane < block; ++lane) out[lane] = even[lane] + b[lane];
      for (int64_t lane = 0; lane < block; ++lane) out[block + lane] = odd[lane] + b[lane];
    }
  });
}

void unshuffle(const UpConvGeometry& g, const float* dy, float* taps) {
  for_each_row(g, taps, dy, [&](float* even, float* odd, const float* in, int64_t) {
    for (int64_t j = 0; j < g.x.w; ++j, even += block, odd += block, in += 2 * block) {
      std::copy_n(in, block, even);
      std::copy_n(in + block, block, odd);
    }
  });
}

auto describe(const ConvTranspose2x2& p) {
  return describe_forward(as_conv1x1(p.geometry), direct, false, false);
}
auto describe(const ConvTranspose2x2DataGrad& p) {
  return describe_data_grad(as_conv1x1(p.geometry), direct);
}
auto describe(const ConvTranspose2x2WeightGrad& p) {
  return describe_weight_grad(as_conv1x1(p.geometry), direct, p.bias);
}

struct ForwardKernel final : Kernel<ConvTranspose2x2> {
  explicit ForwardKernel(const ConvTranspose2x2& p)
      : geometry(p.geometry), call(describe(p), {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}) {}
  size_t workspace() const override { return taps_bytes(geometry) + call.scratch_bytes(); }
  void run(const ConvTranspose2x2::Buffers& b, void* workspace, Stream&) const override {
    call.run({b.x, b.w, workspace}, static_cast<std::byte*>(workspace) + taps_bytes(geometry));
    shuffle(geometry, static_cast<const float*>(workspace), static_cast<const float*>(b.bias),
            static_cast<float*>(b.y));
  }
  UpConvGeometry geometry;
  Call call;
};

struct DataGradKernel final : Kernel<ConvTranspose2x2DataGrad> {
  explicit DataGradKernel(const ConvTranspose2x2DataGrad& p)
      : geometry(p.geometry), call(as_conv1x1(p.geometry), direct) {}
  size_t workspace() const override { return taps_bytes(geometry) + call.workspace(); }
  void run(const ConvTranspose2x2DataGrad::Buffers& b, void* workspace, Stream&) const override {
    unshuffle(geometry, static_cast<const float*>(b.dy), static_cast<float*>(workspace));
    call.run(workspace, b.w, b.dx, static_cast<std::byte*>(workspace) + taps_bytes(geometry));
  }
  UpConvGeometry geometry;
  DataGradCall call;
};

struct WeightGradKernel final : Kernel<ConvTranspose2x2WeightGrad> {
  explicit WeightGradKernel(const ConvTranspose2x2WeightGrad& p)
      : geometry(p.geometry),
        call(describe(p),
             {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS}) {}
  size_t workspace() const override {
    return taps_bytes(geometry) + tap_bias_bytes() + call.scratch_bytes();
  }
  void run(const ConvTranspose2x2WeightGrad::Buffers& b, void* workspace, Stream&) const override {
    unshuffle(geometry, static_cast<const float*>(b.dy), static_cast<float*>(workspace));
    std::byte* const tap_bias = static_cast<std::byte*>(workspace) + taps_bytes(geometry);
    call.run({b.x, workspace, b.dw, b.dbias == nullptr ? nullptr : tap_bias},
             tap_bias + tap_bias_bytes());
    if (b.dbias == nullptr) return;
    const auto* const in = reinterpret_cast<const float*>(tap_bias);
    auto* const dbias = static_cast<float*>(b.dbias);
    for (int64_t k = 0; k < padded(geometry.k); ++k) {
      const float* t = in + k / block * taps_of_block * block + k % block;
      dbias[k] = (t[0] + t[block]) + (t[2 * block] + t[3 * block]);
    }
  }
  size_t tap_bias_bytes() const {
    return static_cast<size_t>(as_conv1x1(geometry).k) * sizeof(float);
  }
  UpConvGeometry geometry;
  Call call;
};

template <class P>
const char* reject(const P& p) {
  if (p.dtype != DType::f32) return "computes in f32 only";
  return reject_description([&] { return describe(p); });
}

}  // namespace

void register_conv_transpose2x2() {
  add_kernel<ConvTranspose2x2, ForwardKernel>(DeviceType::cpu, "onednn", reject<ConvTranspose2x2>);
  add_kernel<ConvTranspose2x2DataGrad, DataGradKernel>(DeviceType::cpu, "onednn",
                                                       reject<ConvTranspose2x2DataGrad>);
  add_kernel<ConvTranspose2x2WeightGrad, WeightGradKernel>(DeviceType::cpu, "onednn",
                                                           reject<ConvTranspose2x2WeightGrad>);
}

}  // namespace unetd::onednn
