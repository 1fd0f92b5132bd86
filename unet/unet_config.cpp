#include "unet/unet_config.h"

#include "engine/base/error.h"

namespace unetd {
namespace {

void check_settings(const UNetConfig& c) {
  const auto exclude = [](bool both, const char* what) {
    if (both) throw UsageError(what);
  };
  exclude(c.valid && c.bilinear,
          "model.padding valid needs model.upsample transposed: bilinear up-sampling stretches by "
          "the size of the tile");
  exclude(c.valid && c.strided, "model.padding valid needs model.down maxpool");
  exclude(c.valid && c.resize,
          "model.padding valid crops the skip connections; leave model.fit at pad");
  exclude(c.names == Config::Names::aladdinpersson && (c.bilinear || c.strided || !c.skips),
          "model.names aladdinpersson has no names for bilinear up-sampling, strided convolutions "
          "or a network without skips; use milesial");
}

// The output's side for an input of which every halving is even, or 0.
int64_t valid_output(const UNetConfig& c, int64_t side) {
  const int64_t loss = 2 * c.convolutions();
  for (int64_t d = 0; d < c.depth; ++d) {
    if (d >= c.finest()) side -= loss;
    if (side < 2 || side % 2 != 0) return 0;
    side /= 2;
  }
  side -= loss;
  for (int64_t d = c.depth - 1; side > 0 && d >= 0; --d) {
    side *= 2;
    if (d >= c.finest()) side -= loss;
  }
  return side > 0 ? side : 0;
}

}  // namespace

int64_t UNetConfig::receptive_radius() const {
  if (valid) return margin();  // nothing else is read, and nothing is padded
  // Each convolution of level d reaches one pixel of 2^d, on the way down and on the way up. A
  // pixel and the window it is pooled in, or the one that a strided convolution starts from, may
  // differ by another one; bilinear up-sampling reads the coarser neighbour; resizing to an odd
  // size moves by up to a pixel and reads its neighbour.
  const int64_t convolved = convolutions();
  int64_t radius = convolved * stride();
  for (int64_t d = 0; d < depth; ++d) {
    const int64_t cell = int64_t{1} << d;
    radius += (2 * convolved + 1 + (bilinear ? 2 : 0) + (resize ? 2 : 0)) * cell;
  }
  return radius;
}

int64_t UNetConfig::margin() const {
  if (!valid) return 0;
  int64_t cells = stride();
  for (int64_t d = finest(); d < depth; ++d) cells += 2 * (int64_t{1} << d);
  return convolutions() * cells;
}

int64_t UNetConfig::input_side(int64_t output) const {
  int64_t side = output + 2 * margin();
  while (valid && valid_output(*this, side) == 0) ++side;
  return side;
}

int64_t UNetConfig::used_side(int64_t input) const {
  int64_t side = input;
  while (valid && side > 0 && valid_output(*this, side) == 0) --side;
  return side;
}

void UNetConfig::take_untold(const Config::Model& m) {
  valid = m.valid;
  resize = m.resize;
  dropout = m.dropout;
  he_init = m.he_init;
  bn_eps = m.bn_eps;
  bn_momentum = m.bn_momentum;
  check_settings(*this);
}

Config::Model UNetConfig::settings() const {
  return {.in_channels = in_channels,
          .classes = classes,
          .width = width,
          .depth = depth,
          .upsample = bilinear ? Config::Upsample::bilinear : Config::Upsample::transposed,
          .conv_bias = conv_bias,
          .valid = valid,
          .norm = norm,
          .single = single,
          .resize = resize,
          .strided = strided,
          .skips = skips,
          .dropout = dropout,
          .he_init = he_init,
          .names = names,
          .bn_eps = bn_eps,
          .bn_momentum = bn_momentum};
}

UNetConfig unet_config(const Config& config, int64_t data_channels, int64_t data_classes) {
  const auto& m = config.model;
  const auto agree = [](const char* key, int64_t set, int64_t data) {
    if (set != 0 && data != 0 && set != data) {
      throw UsageError(str(key, " is ", set, ", but the data have ", data,
                           "; leave it at 0 to follow the data"));
    }
    return set != 0 ? set : data;
  };
  UNetConfig c;
  c.in_channels = agree("model.in_channels", m.in_channels, data_channels);
  c.classes = agree("model.classes", m.classes, data_classes);
  c.width = m.width;
  c.depth = m.depth;
  c.bilinear = m.upsample == Config::Upsample::bilinear;
  c.conv_bias = m.conv_bias;
  c.norm = m.norm;
  c.single = m.single;
  c.strided = m.strided;
  c.skips = m.skips;
  c.names = m.names;
  c.take_untold(m);
  constexpr DType types[] = {DType::f32, DType::bf16, DType::f16};
  c.compute = types[static_cast<size_t>(config.runtime.precision)];
  return c;
}

void check_precision(const UNetConfig& c, DeviceType device) {
  if (device != DeviceType::cpu || c.compute == DType::f32) return;
  throw UsageError(
      str("runtime.precision ", name_of(c.compute), " needs a GPU; leave it at f32 on the cpu"));
}

}  // namespace unetd
