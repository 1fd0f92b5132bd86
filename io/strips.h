// Large rasters are gone through in strips of rows, from top to bottom, and say how far they are.
#pragma once

#include "io/grid.h"

#include <algorithm>
#include <cstdint>
#include <functional>

namespace unetd::io {

// Told how much of a piece of work is done, from 0 to 1. May be empty.
using Share = std::function<void(double)>;

template <class F>
void for_strips(const Grid& grid, const Share& share, F&& f) {
  constexpr int64_t rows_at_once = 256;
  for (int64_t y = 0; y < grid.height; y += rows_at_once) {
    const Window rows{0, y, grid.width, std::min(rows_at_once, grid.height - y)};
    f(rows);
    if (share) share(static_cast<double>(y + rows.height) / static_cast<double>(grid.height));
  }
}

}  // namespace unetd::io
