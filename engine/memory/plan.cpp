#include "engine/memory/plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace unetd {
namespace {

constexpr size_t alignment = 256;  // a GPU's widest access, and several cache lines

size_t rounded(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

bool meet(const Interval& a, const Interval& b) { return a.first <= b.last && b.first <= a.last; }

size_t peak(std::span<const Interval> intervals) {
  std::vector<std::pair<int, int64_t>> events;  // (node, change); ends count from the node after
  for (const Interval& i : intervals) {
    if (i.last < i.first) continue;
    events.emplace_back(i.first, static_cast<int64_t>(rounded(i.bytes)));
    events.emplace_back(i.last + 1, -static_cast<int64_t>(rounded(i.bytes)));
  }
  std::sort(events.begin(), events.end());
  int64_t live = 0, most = 0;
  for (const auto& [node, change] : events) most = std::max(most, live += change);
  return static_cast<size_t>(most);
}

}  // namespace

MemoryPlan plan_memory(std::span<const Interval> intervals) {
  std::vector<size_t> order(intervals.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return intervals[a].bytes > intervals[b].bytes; });
  MemoryPlan plan{std::vector<size_t>(intervals.size(), 0), 0, peak(intervals)};
  std::vector<size_t> placed;
  for (const size_t value : order) {
    if (intervals[value].last < intervals[value].first) continue;
    const size_t bytes = rounded(intervals[value].bytes);
    std::vector<std::pair<size_t, size_t>> busy;
    for (const size_t other : placed) {
      if (!meet(intervals[other], intervals[value])) continue;
      busy.emplace_back(plan.offset[other], plan.offset[other] + rounded(intervals[other].bytes));
    }
    std::sort(busy.begin(), busy.end());
    size_t at = 0;
    for (const auto& [begin, end] : busy) {
      if (at + bytes <= begin) break;
      at = std::max(at, end);
    }
    plan.offset[value] = at;
    plan.bytes = std::max(plan.bytes, at + bytes);
    placed.push_back(value);
  }
  return plan;
}

}  // namespace unetd
