// The UNet (Ronneberger, Fischer and Brox, 2015) in the form of milesial/Pytorch-UNet: 3x3
// convolutions that keep the size, batch norm, ReLU; four times down by max-pooling, four times up
// by transposed convolutions or bilinear up-sampling; skips padded where sizes are odd. Parameters
// carry the names of that implementation's state dict.
#pragma once

#include "engine/autograd/ops.h"
#include "unet/config.h"
#include "unet/params.h"

#include <string>
#include <vector>

namespace unetd {

// What fixes the network: resolved, so channels and classes are known.
struct UNetConfig {
  int64_t in_channels = 3, classes = 2;
  int64_t width = 64, depth = 4;
  bool bilinear = false, conv_bias = false;
  float bn_eps = 1e-5F, bn_momentum = 0.1F;
  // Storage of images and of the filters that are read, but for the last layer: what it rounds, no
  // later layer mends. 16-bit types run on simt and cuda.
  DType compute = DType::f32;

  // Sides of the input are halved this often, so tiles begin at its multiples.
  int64_t stride() const { return int64_t{1} << depth; }
  // Channels at level d, 0 the finest. In bilinear networks the deepest has half of what doubling
  // gives, since up-sampling does not reduce channels.
  int64_t channels(int64_t level) const {
    return (width << level) / (bilinear && level == depth ? 2 : 1);
  }
  // Pixels to every side of an output pixel that can influence it, rounded up.
  int64_t receptive_radius() const;
};

// From the configuration; in_channels and classes of 0 are filled in from the data's.
// Throws UsageError when they are set and differ.
UNetConfig unet_config(const Config& config, int64_t data_channels, int64_t data_classes);

enum class Mode : uint8_t {
  training,    // batch statistics, gradients
  evaluation,  // running statistics
  folded,      // batch norm folded into convolutions with bias and ReLU (fold_batch_norm)
};

// Records the network. x: (n, h, w, in_channels), f32 or of the storage type; result: logits (n, h,
// w, classes) of the same size, f32. `window` (its cell is ignored) says where x lies in a larger
// scene; it matters for bilinear networks.
Value unet(Graph& g, Params& params, const UNetConfig& c, Value x, Mode mode,
           const SceneWindow& window = {});

// Throws UsageError where the device cannot compute in the network's storage type.
void check_precision(const UNetConfig& c, DeviceType device);

// The names and shapes of the network's parameters; takes no memory for them.
std::vector<ParamSpec> unet_specs(const UNetConfig& c, Mode mode = Mode::training);

// The parameters of the network, allocated and zero: Params::initialise or a checkpoint fills them.
Params unet_params(const UNetConfig& c, DeviceType device, Mode mode = Mode::training);

// The same network for inference: with w' = w * gamma * rstd and b' = beta + (b - mean) * gamma *
// rstd a convolution yields what convolution and batch norm did.
Params fold_batch_norm(const Params& trained, const UNetConfig& c, DeviceType device);

// A building block as the tables of `unetd-info model` list it, in order of execution.
struct LayerInfo {
  std::string type, prefix;  // "DoubleConv", "down1.maxpool_conv.1"
  Shape input;
  int64_t parameters = 0;
};
// For one image of height x width. The first block is listed layer by layer, later ones whole.
std::vector<LayerInfo> unet_layers(const UNetConfig& c, int64_t height, int64_t width);

}  // namespace unetd
