// What fixes a network: its shape, resolved from the configuration or read off a file of weights,
// and what follows from it alone: channels and extents of its levels, and what it reads around a
// pixel.
#pragma once

#include "engine/base/dtype.h"
#include "engine/device/device.h"
#include "unet/config.h"

namespace unetd {

struct UNetConfig {
  int64_t in_channels = 3, classes = 2;
  int64_t width = 64, depth = 4;
  bool bilinear = false, conv_bias = false;
  // As the keys model.* of the same name say (config_keys.cpp): no padding in 3x3 convolutions;
  // batch norm; blocks of one convolution; the doubled image resized, not padded, to an odd size;
  // halving by strided convolutions; no skip connections.
  bool valid = false, norm = true, single = false, resize = false, strided = false, skips = true;
  double dropout = 0;  // behind the deepest level, in training
  bool he_init = false;
  Config::Names names = Config::Names::milesial;
  double bn_eps = 1e-5, bn_momentum = 0.1;
  // Storage of images and of the filters that are read, but for the last layer: what it rounds, no
  // later layer mends. 16-bit types run on simt and cuda.
  DType compute = DType::f32;

  // Sides of the input are halved this often, so tiles begin at its multiples.
  int64_t stride() const { return int64_t{1} << depth; }
  int64_t halved(int64_t size) const { return strided ? (size + 1) / 2 : size / 2; }
  int64_t convolutions() const { return single ? 1 : 2; }  // of a block
  // The finest level that has blocks. Without skip connections nothing would be gained by one at
  // full size: there the first convolution reads the image, and the last layer follows at once.
  int64_t finest() const { return skips ? 0 : 1; }
  // Channels at level d, 0 the image's size, on the way down. In bilinear networks the deepest has
  // half of what doubling gives, since up-sampling does not reduce channels.
  int64_t channels(int64_t level) const {
    return (width << (level - finest())) / (skips && bilinear && level == depth ? 2 : 1);
  }
  // On the way up.
  int64_t channels_up(int64_t level) const {
    return (width << (level - finest())) / (skips && bilinear && level > 0 ? 2 : 1);
  }

  // Pixels to every side of an output pixel that can influence it, rounded up.
  int64_t receptive_radius() const;
  // Pixels that the input has more than the output on every side; 0 unless `valid`.
  int64_t margin() const;
  // The smallest side of an input of which the output has at least `output` pixels; with padding
  // they are equal. Without, only sides that stay even at each halving are of use.
  int64_t input_side(int64_t output) const;
  // The part of an input's side, its middle, that is used; 0 if there is too little.
  int64_t used_side(int64_t input) const;
  int64_t output_side(int64_t input) const { return used_side(input) - 2 * margin(); }

  // What tensors of a file do not tell: padding, fit, dropout, initialisation and batch norm's
  // constants. Throws UsageError where it does not go with the rest.
  void take_untold(const Config::Model& settings);
  // The inverse of unet_config().
  Config::Model settings() const;
};

// From the configuration; in_channels and classes of 0 are filled in from the data's.
// Throws UsageError when they are set and differ, and for settings that exclude each other.
UNetConfig unet_config(const Config& config, int64_t data_channels, int64_t data_classes);

// Throws UsageError where the device cannot compute in the network's storage type.
void check_precision(const UNetConfig& c, DeviceType device);

}  // namespace unetd
