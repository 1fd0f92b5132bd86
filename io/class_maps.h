// Where on the scenes the classes of a store live: for each class the mean of its masks, on a
// coarse grid. Scenes on one grid are averaged together.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grounds.h"
#include "io/patch_store.h"

#include <cstdint>
#include <vector>

namespace unetd::io {

class ClassMaps {
 public:
  // Of a store that gets patches from the schema's sources; the first six grids are shown.
  explicit ClassMaps(const StoreSchema& schema);

  // labels {1, h, w, 1} u8, class indices and 255.
  void add(const PatchRecord& record, const Tensor& labels);
  // Small multiples, {1, h, w, 3} u8.
  Tensor picture() const;

  // The labelled pixels of a ground's patches: [class][cell].
  struct Ground : io::Ground {
    std::vector<std::vector<int64_t>> pixels;

    int64_t labelled(size_t cell) const;
    // Of the labelled pixels of a cell, those of a class; below 0 where there are none.
    double share(size_t cls, size_t cell) const;
  };
  const std::vector<Ground>& grounds() const { return grounds_; }

 private:
  std::vector<ClassInfo> classes_;
  std::vector<int64_t> ground_of_;  // of each source
  std::vector<Ground> grounds_;
};

}  // namespace unetd::io
