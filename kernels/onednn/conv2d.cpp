// conv2d and its gradients in two implementations: oneDNN's direct convolutions, and its Winograd
// F(4x4, 3x3), which does a quarter of the multiplications.
#include "engine/op/conv2d.h"

#include "kernels/onednn/call.h"

#include <algorithm>

namespace unetd::onednn {
namespace {

using dnnl::algorithm;
constexpr algorithm direct = algorithm::convolution_direct;
constexpr algorithm winograd = algorithm::convolution_winograd;

auto describe(const Conv2d& p, algorithm a) {
  return describe_forward(p.geometry, a, p.bias, p.relu);
}
auto describe(const Conv2dDataGrad& p, algorithm a) { return describe_data_grad(p.geometry, a); }
auto describe(const Conv2dWeightGrad& p, algorithm a) {
  return describe_weight_grad(p.geometry, a, p.bias);
}

// Winograd trades multiplications for transforms of image, filter and result. It pays when each
// transformed channel meets many others and when there are enough 4x4 tiles to repay the filter's
// transform: measured, 1.0 to 1.9 times the direct speed at 64 tiles, 2 to 3 times on large images.
constexpr int64_t min_tiles = 64, min_channels = 32;

int64_t fewer_channels(const ConvGeometry& g) { return std::min(padded(g.x.c), padded(g.k)); }
int64_t more_channels(const ConvGeometry& g) { return std::max(padded(g.x.c), padded(g.k)); }

bool enough_channels(const Conv2d& p) { return fewer_channels(p.geometry) >= min_channels; }
bool enough_channels(const Conv2dDataGrad& p) { return fewer_channels(p.geometry) >= min_channels; }
// Its direct counterpart is slower than the other two.
bool enough_channels(const Conv2dWeightGrad& p) {
  return more_channels(p.geometry) >= min_channels;
}

template <class P>
const char* reject_winograd(const P& p) {
  const ConvGeometry& g = p.geometry;
  if (g.r != 3 || g.s != 3 || g.stride != 1 || g.pad != 1) {
    return "Winograd takes 3x3 windows with stride 1 and padding 1";
  }
  if (!enough_channels(p)) return "too few channels for Winograd to pay";
  const int64_t tiles = g.x.n * ((g.x.h + 3) / 4) * ((g.x.w + 3) / 4);
  return tiles < min_tiles ? "too few pixels for Winograd to pay" : nullptr;
}

template <class P, algorithm a>
const char* reject(const P& p) {
  if (p.dtype != DType::f32) return "computes in f32 only";
  if (a == winograd) {
    if (const char* reason = reject_winograd(p)) return reason;
  }
  return reject_description([&] { return describe(p, a); });
}

template <algorithm a>
struct ForwardKernel final : Kernel<Conv2d> {
  explicit ForwardKernel(const Conv2d& p)
      : call(describe(p, a), {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST}) {}
  size_t workspace() const override { return call.scratch_bytes(); }
  void run(const Conv2d::Buffers& b, void* workspace, Stream&) const override {
    call.run({b.x, b.w, b.bias, b.y}, workspace);
  }
  Call call;
};

template <algorithm a>
struct DataGradKernel final : Kernel<Conv2dDataGrad> {
  explicit DataGradKernel(const Conv2dDataGrad& p) : call(p.geometry, a) {}
  size_t workspace() const override { return call.workspace(); }
  void run(const Conv2dDataGrad::Buffers& b, void* workspace, Stream&) const override {
    call.run(b.dy, b.w, b.dx, workspace);
  }
  DataGradCall call;
};

template <algorithm a>
struct WeightGradKernel final : Kernel<Conv2dWeightGrad> {
  explicit WeightGradKernel(const Conv2dWeightGrad& p)
      : call(describe(p, a),
             {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS}) {}
  size_t workspace() const override { return call.scratch_bytes(); }
  void run(const Conv2dWeightGrad::Buffers& b, void* workspace, Stream&) const override {
    call.run({b.x, b.dy, b.dw, b.dbias}, workspace);
  }
  Call call;
};

template <algorithm a>
void add_all(std::string_view name) {
  add_kernel<Conv2d, ForwardKernel<a>>(DeviceType::cpu, name, reject<Conv2d, a>);
  add_kernel<Conv2dDataGrad, DataGradKernel<a>>(DeviceType::cpu, name, reject<Conv2dDataGrad, a>);
  add_kernel<Conv2dWeightGrad, WeightGradKernel<a>>(DeviceType::cpu, name,
                                                    reject<Conv2dWeightGrad, a>);
}

}  // namespace

void register_conv2d() {
  add_all<winograd>("onednn_winograd");
  add_all<direct>("onednn");
}

}  // namespace unetd::onednn
