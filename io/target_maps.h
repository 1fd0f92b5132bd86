// Where on the scenes the targets of a store are high and low: their means on a coarse grid, by the
// colour ramp. Scenes on one grid are averaged together.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grounds.h"
#include "io/patch_store.h"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace unetd::io {

class TargetMaps {
 public:
  // Of a store of targets that gets patches from the schema's sources; the first six grids are
  // shown.
  explicit TargetMaps(const StoreSchema& schema);

  // targets {1, h, w, 1} f32, NaN where there is none.
  void add(const PatchRecord& record, const Tensor& targets);
  // The maps below each other, and what the colours mean, {1, h, w, 3} u8.
  Tensor picture() const;

  struct Ground : io::Ground {
    std::vector<double> sums;     // of each cell
    std::vector<int64_t> counts;  // pixels with a target

    // NaN where no pixel of the cell has a target.
    double mean(size_t cell) const;
  };
  const std::vector<Ground>& grounds() const { return grounds_; }
  // What the ends of the ramp stand for: the 2nd and the 98th percentile of the cells, or the
  // least and the greatest where those are one number; 0 and 0 if nothing was added.
  std::pair<double, double> range() const;

 private:
  Target target_;
  std::vector<int64_t> ground_of_;  // of each source
  std::vector<Ground> grounds_;
};

}  // namespace unetd::io
