// What a network's parameters are called: as in milesial/Pytorch-UNet's state dict or as in that of
// aladdinpersson's UNet, so that weights go to and fro; networks that neither has have names after
// the pattern of the first. A layer's tensors are the name of the layer
// and .weight, .bias, .running_mean, .running_var.
#pragma once

#include "unet/unet_config.h"

#include <string>
#include <vector>

namespace unetd {

class ParamNames {
 public:
  explicit ParamNames(const UNetConfig& c) : c_(c) {}

  // The block of a level on the way down, level `depth` the deepest.
  std::string down(int64_t level) const;
  // The transposed convolution that leads up to a level, and the level's block on the way up.
  std::string upsampling(int64_t level) const;
  std::string up(int64_t level) const;
  std::string output() const;
  // Convolution i of a block, and the batch norm behind it: their places in PyTorch's nn.Sequential
  // of convolutions, norms and ReLUs.
  std::string convolution(const std::string& block, int64_t i) const;
  std::string norm(const std::string& block, int64_t i) const;

  // Every 3x3 convolution with its norm, in order of execution; norms are empty where there are
  // none.
  struct Pair {
    std::string convolution, norm;
  };
  std::vector<Pair> convolutions() const;

 private:
  UNetConfig c_;
};

}  // namespace unetd
