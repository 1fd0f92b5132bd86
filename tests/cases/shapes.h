// Image shapes: the edges that break kernels, and those of two real networks.
#pragma once

#include "engine/tensor/shape.h"

#include <vector>

namespace unetd {

// One pixel, one channel, odd sizes, channels below, at and above one block of 16.
inline std::vector<Shape> edge_shapes() {
  return {{1, 1, 1, 1},  {1, 1, 1, 13}, {2, 5, 7, 3},  {1, 4, 4, 13},
          {2, 3, 9, 17}, {2, 8, 8, 16}, {1, 7, 6, 33}, {1, 16, 16, 64}};
}

// More pixels than a GPU takes at once.
inline constexpr Shape many_pixels{1, 93, 92, 33};

// The extents of a UNet: `width` channels at full size, doubled at each of four halvings.
struct NetShape {
  int64_t batch, size, width, bands, classes;

  // The image at level 0 (full size) to 4, and with other channel counts than that level's own.
  Shape level(int d) const { return level(d, width << d); }
  Shape level(int d, int64_t channels) const { return {batch, size >> d, size >> d, channels}; }
};
inline constexpr int net_depth = 4;
// The network of 31 million parameters on one patch, and its narrow sibling on four.
inline constexpr NetShape nets[] = {{1, 256, 64, 13, 4}, {4, 256, 16, 13, 4}};

// The levels `first` to `last` of both.
inline std::vector<Shape> net_levels(int first, int last) {
  std::vector<Shape> all;
  for (const NetShape& net : nets) {
    for (int d = first; d <= last; ++d) all.push_back(net.level(d));
  }
  return all;
}
inline std::vector<Shape> net_logits() {
  std::vector<Shape> all;
  for (const NetShape& net : nets) all.push_back(net.level(0, net.classes));
  return all;
}

}  // namespace unetd
