// Where prediction and truth of a scene differ, small enough for a page.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"
#include "io/patch_store.h"

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace unetd::report {

// The difference of each pixel: of classes 0 where prediction and truth agree, 1 where they do not;
// of values their error, in the unit. NaN where the truth is 255 or NaN.
std::vector<float> differences(std::span<const uint8_t> truth, std::span<const uint8_t> prediction);
std::vector<float> differences(std::span<const float> truth, std::span<const float> prediction);
// Of tensors of the one kind or the other.
std::vector<float> differences(const Tensor& truth, const Tensor& prediction);

// The colour of a mean difference.
using Painter = std::function<std::array<uint8_t, 3>(double mean)>;
// Of classes: from io::difference_colors[0] to [1] by the share that differs.
Painter class_painter();

// A picture of part of a scene, of squares of pixels so many that its longest side stays below 900,
// coloured by the mean difference in each; one without any has no colour.
class DifferenceMap {
 public:
  explicit DifferenceMap(const io::Window& area);

  // The differences of a window, row by row; pixels that lie outside the area are left out.
  void add(const io::Window& window, std::span<const float> differences);

  Tensor picture(const Painter& painter) const;  // u8 {1, h, w, 4}
  double mean() const;                           // over all pixels; NaN without any

 private:
  struct Square {
    int64_t pixels = 0;
    double sum = 0;
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
// what a raw patch has, classes u8 or values f32 {1, h, w, 1}; `progress` hears how many patches
// are done.
std::vector<SceneDifference> scene_differences(
    const io::PatchStore& store, io::Split split,
    const std::function<Tensor(const io::Raster&)>& predict,
    const std::function<void(int64_t done)>& progress);

// `target`: of values, else null.
std::string differences_section(const std::vector<SceneDifference>& differences,
                                const io::Target* target);

}  // namespace unetd::report
