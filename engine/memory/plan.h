// Static placement of values in one arena. Every value is an interval of node indices during which
// it must exist; two values may share memory when their intervals do not meet.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace unetd {

struct Interval {
  size_t bytes = 0;
  int first = 0, last = -1;  // node indices, both inclusive; last < first: never used
};

struct MemoryPlan {
  std::vector<size_t> offset;  // one per interval, 256-byte aligned
  size_t bytes = 0;            // the arena's size
  size_t peak_live = 0;        // the most bytes alive at any node: no plan can do with less
};

// Greedy by size: largest first, each at the lowest offset where it meets no live neighbour. On
// UNet graphs this reaches `peak_live` or comes within a few percent of it (tested).
MemoryPlan plan_memory(std::span<const Interval> intervals);

}  // namespace unetd
