#include "unet/model.h"
#include "unet/param_names.h"

#include <cmath>

namespace unetd {
namespace {

// w' and b' of one convolution (model.h).
void fold(const Params& trained, const UNetConfig& c, const ParamNames::Pair& layer,
          Params& folded) {
  Tensor w = trained.read(layer.convolution + ".weight");
  const int64_t filters = w.shape().n, per_filter = w.shape().count() / filters;
  Tensor bias({1, 1, 1, filters}, DType::f32);
  if (c.conv_bias) bias = trained.read(layer.convolution + ".bias");
  const Tensor gamma = trained.read(layer.norm + ".weight");
  const Tensor beta = trained.read(layer.norm + ".bias");
  const Tensor mean = trained.read(layer.norm + ".running_mean");
  const Tensor var = trained.read(layer.norm + ".running_var");
  const double epsilon = static_cast<float>(c.bn_eps);  // as the kernels take it
  for (int64_t k = 0; k < filters; ++k) {
    const auto i = static_cast<size_t>(k);
    const double factor =
        gamma.span<float>()[i] / std::sqrt(static_cast<double>(var.span<float>()[i]) + epsilon);
    for (float& x : w.span<float>().subspan(i * static_cast<size_t>(per_filter),
                                            static_cast<size_t>(per_filter))) {
      x = static_cast<float>(x * factor);
    }
    float& b = bias.span<float>()[i];
    b = static_cast<float>(beta.span<float>()[i] + (b - mean.span<float>()[i]) * factor);
  }
  folded.write(layer.convolution + ".weight", w);
  folded.write(layer.convolution + ".bias", bias);
}

}  // namespace

Params fold_batch_norm(const Params& trained, const UNetConfig& c, DeviceType device) {
  Params folded = unet_params(c, device, Mode::folded);
  // What is folded with a norm has a bias that need not have been there before.
  for (const ParamSpec& spec : folded.specs()) {
    if (trained.contains(spec.name)) folded.write(spec.name, trained.read(spec.name));
  }
  if (!c.norm) return folded;
  for (const ParamNames::Pair& layer : ParamNames(c).convolutions())
    fold(trained, c, layer, folded);
  return folded;
}

}  // namespace unetd
