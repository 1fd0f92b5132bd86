// Images that go on beyond their borders as their own mirror image, which networks without padding
// are given there.
#pragma once

#include "engine/tensor/tensor.h"

#include <cstdint>
#include <span>
#include <vector>

namespace unetd {

// Pixels [begin, begin + count) of a line of `size` pixels that is reflected at its ends without
// repeating the last one, as often as it takes: ... 2 1 0 1 2 ... n-2 n-1 n-2 ...
std::vector<int64_t> mirrored_line(int64_t begin, int64_t count, int64_t size);

// Those rows and columns of images (n, h, w, c) of any type.
Tensor take_pixels(const Tensor& images, std::span<const int64_t> rows,
                   std::span<const int64_t> columns);

}  // namespace unetd
