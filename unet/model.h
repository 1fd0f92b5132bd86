// The UNet (Ronneberger, Fischer and Brox, 2015) and its relatives: blocks of 3x3 convolutions,
// batch norm and ReLU; down by max-pooling or strided convolutions, up by transposed convolutions
// or bilinear up-sampling; skip connections. Which of them is a matter of UNetConfig; as it stands
// it is the network of milesial/Pytorch-UNet.
#pragma once

#include "engine/autograd/ops.h"
#include "unet/params.h"
#include "unet/unet_config.h"

#include <string>
#include <vector>

namespace unetd {

enum class Mode : uint8_t {
  training,    // batch statistics, gradients
  evaluation,  // running statistics
  folded,      // batch norm folded into convolutions with bias and ReLU (fold_batch_norm)
};

// Where dropout gets its numbers from in training (engine/op/dropout.h).
struct DropoutSource {
  Value batch;
  uint64_t seed = 0;
};

// Records the network. x: (n, h, w, in_channels), f32 or of the storage type; result: logits (n, h,
// w, classes), f32, of the same size, or of the middle of x where the network has no padding
// (UNetConfig::output_side). `window` (its cell is ignored) says where x lies in a larger scene; it
// matters where sites_in_scene() says so. `dropout` is for training where c.dropout is not 0.
// Throws Error for an image that is too small.
Value unet(Graph& g, Params& params, const UNetConfig& c, Value x, Mode mode,
           const SceneWindow& window = {}, const DropoutSource& dropout = {});

// Do pixels depend on where the tile lies? Interpolation between corners and to odd sizes stretches
// by the size of the whole scene.
inline bool sites_in_scene(const UNetConfig& c) { return c.bilinear || c.resize; }

// Logits with zeros around them, as large as the image that they are of, for labels that are.
Value on_whole_image(Graph& g, Value logits, const Shape& image);

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
