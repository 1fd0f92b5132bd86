// Where the patches of a store lie on the ground, in the cells of a coarse picture: what its maps
// of classes and of targets share. Sources on one grid (the dates of a Sentinel-2 tile) are one
// ground.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"
#include "io/patch_store.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace unetd::io {

struct Ground {
  std::string title;
  Grid grid;
  Shape shape;  // of the picture: rows and columns of cells
  int64_t scenes = 0;

  size_t cells() const { return static_cast<size_t>(shape.pixels()); }
  // The one that pixel number `pixel` of a patch, by rows, lies in. It is inside the grid.
  size_t cell(const PatchRecord& patch, size_t pixel) const;
  // The title, and how many scenes more there are.
  std::string heading() const;
};

struct Grounds {
  static constexpr size_t most = 6;  // that are shown; sources of others have none

  std::vector<Ground> list;
  std::vector<int64_t> of_source;  // positions in the list, `most` and more for none
};

// `long_side`: most cells of a picture along each side.
Grounds grounds_of(const std::vector<StoreSource>& sources, int64_t long_side);

}  // namespace unetd::io
