// Where water runs on a grid of heights: priority flood (Barnes, Lehman and Mulla,
// "Priority-flood", 2014) gives every cell a way out to the border, over the lowest sill where it
// lies in a hollow.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace unetd::synth {

struct Drainage {
  std::vector<int32_t> order;     // every cell, each after the cell it drains to
  std::vector<int32_t> receiver;  // border cells drain to themselves
  std::vector<float> filled;      // heights with all hollows filled to their sills
};
Drainage drain(std::span<const float> height, int64_t side);

// Cells that drain through each cell, itself included.
std::vector<float> drained_cells(const Drainage& drainage);

// Hollows as connected sets of cells (8 neighbours) more than `least_depth` below their fill level,
// in order of their first cell.
std::vector<std::vector<int32_t>> hollows(std::span<const float> height, const Drainage& drainage,
                                          int64_t side, float least_depth);

}  // namespace unetd::synth
