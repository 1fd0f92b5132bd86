#include "engine/base/rng.h"
#include "engine/memory/plan.h"

#include <catch2/catch.hpp>

using unetd::Interval;
using unetd::MemoryPlan;

namespace {

// No two values that live at the same time may share a byte, and none may leave the arena.
void check_disjoint(const std::vector<Interval>& intervals, const MemoryPlan& plan) {
  for (size_t a = 0; a < intervals.size(); ++a) {
    if (intervals[a].last < intervals[a].first) continue;
    REQUIRE(plan.offset[a] % 256 == 0);
    REQUIRE(plan.offset[a] + intervals[a].bytes <= plan.bytes);
    for (size_t b = 0; b < a; ++b) {
      const bool together = intervals[b].last >= intervals[b].first &&
                            intervals[a].first <= intervals[b].last &&
                            intervals[b].first <= intervals[a].last;
      if (!together) continue;
      const bool apart = plan.offset[a] + intervals[a].bytes <= plan.offset[b] ||
                         plan.offset[b] + intervals[b].bytes <= plan.offset[a];
      REQUIRE(apart);
    }
  }
}

}  // namespace

TEST_CASE("values that live at different times share memory", "[plan]") {
  const std::vector<Interval> chain = {{1024, 0, 1}, {1024, 1, 2}, {1024, 2, 3}, {1024, 3, 4}};
  const MemoryPlan plan = unetd::plan_memory(chain);
  check_disjoint(chain, plan);
  CHECK(plan.bytes == 2048);
  CHECK(plan.peak_live == 2048);
}

TEST_CASE("a value that nothing uses takes no memory", "[plan]") {
  CHECK(unetd::plan_memory(std::vector<Interval>{{1 << 20, 3, -1}}).bytes == 0);
}

TEST_CASE("random lifetimes never overlap in memory", "[plan]") {
  unetd::Rng rng(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<Interval> intervals;
    for (int i = 0; i < 60; ++i) {
      const int first = static_cast<int>(rng.below(40));
      intervals.push_back({rng.below(5000), first, first + static_cast<int>(rng.below(12))});
    }
    const MemoryPlan plan = unetd::plan_memory(intervals);
    check_disjoint(intervals, plan);
    CHECK(plan.bytes >= plan.peak_live);
  }
}
