// Parameters in PyTorch's order of axes: of ours, (k, r, s, c), filters become (k, c, r, s),
// transposed filters (c, k, r, s), vectors (c).
#pragma once

#include "unet/params.h"

#include <cstdint>
#include <span>
#include <vector>

namespace unetd {

std::vector<int64_t> torch_shape(const ParamSpec& spec);

// Dense f32 tensors of the spec's shape to PyTorch's order and back.
Tensor to_torch(const ParamSpec& spec, const Tensor& ours);
Tensor from_torch(const ParamSpec& spec, std::span<const float> theirs);

}  // namespace unetd
