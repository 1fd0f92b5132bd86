// Where the patches of a store lie, by split, over a grey picture of their scenes that is made of
// the patches themselves: ground that no patch holds stays white.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/patch_store.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace unetd::io {

class Canvas;

class Overview {
 public:
  // Of a store that gets patches from the schema's sources; the first twelve are shown.
  explicit Overview(const StoreSchema& schema);

  void add(const PatchRecord& record, const Raster& raster);
  // {1, h, w, 3} u8.
  Tensor picture() const;

 private:
  // A source in the cells of its picture.
  struct Panel {
    std::string title;
    Grid grid;
    Shape shape;
    std::vector<double> sums;
    std::vector<int64_t> counts;
    std::vector<uint8_t> splits;  // one bit a split that has the cell
    std::vector<PatchRecord> patches;

    // The cells that a window of the scene takes; at least one.
    Window cells(const Window& window) const;
    double overlap() const;
    Tensor grey() const;
  };

  // Of a panel and its title.
  int64_t width() const;
  void draw_panel(Canvas& canvas, const Panel& panel, int64_t x, int64_t y) const;

  std::array<int, 3> bands_;
  std::array<int64_t, 3> patches_{};  // of each split, of all sources
  int64_t sources_ = 0, columns_ = 1;
  std::vector<Panel> panels_;
};

}  // namespace unetd::io
