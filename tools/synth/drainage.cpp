#include "tools/synth/drainage.h"

#include <algorithm>
#include <numeric>
#include <queue>

namespace unetd::synth {
namespace {

// visit(j) for the neighbours of i inside the grid.
template <class F>
void for_neighbours(int64_t i, int64_t side, F&& visit) {
  const int64_t x = i % side, y = i / side;
  for (int64_t ny = std::max<int64_t>(y - 1, 0); ny <= std::min(y + 1, side - 1); ++ny)
    for (int64_t nx = std::max<int64_t>(x - 1, 0); nx <= std::min(x + 1, side - 1); ++nx)
      if (ny * side + nx != i) visit(static_cast<int32_t>(ny * side + nx));
}

struct Open {
  float height;
  int32_t cell;
  // Lowest first; ties by cell, so that the order is defined.
  bool operator<(const Open& o) const {
    return height != o.height ? height > o.height : cell > o.cell;
  }
};

}  // namespace

Drainage drain(std::span<const float> height, int64_t side) {
  const auto cells = static_cast<int64_t>(height.size());
  Drainage d{{}, std::vector<int32_t>(height.size(), -1), {height.begin(), height.end()}};
  d.order.reserve(height.size());
  std::priority_queue<Open> open;
  for (int64_t i = 0; i < cells; ++i) {
    const int64_t x = i % side, y = i / side;
    if (x > 0 && y > 0 && x < side - 1 && y < side - 1) continue;
    d.receiver[i] = static_cast<int32_t>(i);
    open.push({height[i], static_cast<int32_t>(i)});
  }
  while (!open.empty()) {
    const Open lowest = open.top();
    open.pop();
    d.order.push_back(lowest.cell);
    for_neighbours(lowest.cell, side, [&](int32_t j) {
      if (d.receiver[j] >= 0) return;
      d.receiver[j] = lowest.cell;
      d.filled[j] = std::max(height[j], lowest.height);
      open.push({d.filled[j], j});
    });
  }
  return d;
}

std::vector<float> drained_cells(const Drainage& d) {
  std::vector<float> area(d.order.size(), 1);
  for (size_t k = d.order.size(); k-- > 0;) {
    const int32_t i = d.order[k];
    if (d.receiver[i] != i) area[d.receiver[i]] += area[i];
  }
  return area;
}

std::vector<std::vector<int32_t>> hollows(std::span<const float> height, const Drainage& d,
                                          int64_t side, float least_depth) {
  std::vector<std::vector<int32_t>> found;
  std::vector<bool> seen(height.size());
  const auto deep = [&](int64_t i) { return d.filled[i] - height[i] > least_depth; };
  for (size_t start = 0; start < height.size(); ++start) {
    if (seen[start] || !deep(static_cast<int64_t>(start))) continue;
    std::vector<int32_t> cells{static_cast<int32_t>(start)};
    seen[start] = true;
    for (size_t k = 0; k < cells.size(); ++k)
      for_neighbours(cells[k], side, [&](int32_t j) {
        if (seen[j] || !deep(j) || d.filled[j] != d.filled[start]) return;
        seen[j] = true;
        cells.push_back(j);
      });
    found.push_back(std::move(cells));
  }
  return found;
}

}  // namespace unetd::synth
