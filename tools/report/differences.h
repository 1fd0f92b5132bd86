// Where prediction and truth of a scene differ, small enough for a page.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"
#include "io/patch_store.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace unetd::report {

// A picture of part of a scene, of squares of pixels so many that its longest side stays below 900.
// A square is coloured by the share of its labelled pixels that differ, from
// io::difference_colors[0] to [1]; one without any has no colour.
class DifferenceMap {
 public:
  explicit DifferenceMap(const io::Window& area);

  // Classes of a window, row by row; pixels whose truth is 255, or that lie outside the area, are
  // left out.
  void add(const io::Window& window, std::span<const uint8_t> truth,
           std::span<const uint8_t> prediction);

  Tensor picture() const;    // u8 {1, h, w, 4}
  double differing() const;  // share of the labelled pixels; NaN without any

 private:
  struct Square {
    int64_t labelled = 0, differing = 0;
  };
  io::Window area_;
  int64_t step_, columns_, rows_;
  std::vector<Square> squares_;
};

// A scene with its map.
struct SceneDifference {
  std::string scene;
  DifferenceMap map;
};

// One for each scene that has patches in a split, over the ground that these cover. `predict` gives
// the classes u8 {1, h, w, 1} of a raw patch; `progress` hears how many patches are done.
std::vector<SceneDifference> scene_differences(
    const io::PatchStore& store, io::Split split,
    const std::function<Tensor(const io::Raster&)>& predict,
    const std::function<void(int64_t done)>& progress);

std::string differences_section(const std::vector<SceneDifference>& differences);

}  // namespace unetd::report
