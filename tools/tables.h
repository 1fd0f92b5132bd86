// The tables of `unetd-info model`, in the form that PyTorch users know from torchsummary.
#pragma once

#include "unet/model.h"

#include <string>

namespace unetd {

// Every trained tensor with its number of elements, and their sum.
std::string parameter_table(const UNetConfig& c);

// The blocks with the shape of their input (n, c, h, w) for one image, and their parameters.
std::string layer_table(const UNetConfig& c, int64_t height, int64_t width);

}  // namespace unetd
