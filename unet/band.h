// A band of rows of a map, in device memory, in which tiles that overlap or were turned are summed
// under their weights: what BlendTile (engine/op/blend_tile.h) adds to. The band is as wide as the
// map and moves down it; row y of the map lies in row y mod the band's height.
#pragma once

#include "engine/autograd/session.h"

#include <cstdint>
#include <memory>
#include <span>

namespace unetd {

// Where a tile, turned back, lies in the map, and what its rows and columns count. A pixel's weight
// is the product of its row's and its column's; missing ones at the end are 0.
struct TileSpot {
  int64_t row = 0, column = 0;
  std::span<const float> row_weights, column_weights;
};

class Band {
 public:
  // `shape`: (images, rows, columns, channels).
  Band(SessionOptions options, const Shape& shape);

  const Shape& shape() const { return shape_; }
  // The sums: dense f32 of that shape.
  Value sums(Graph& g) const;
  // The memory that graphs add to.
  const Buffer* memory() const { return sums_.get(); }

  // Every row begins at zero again: another map.
  void restart() { end_ = 0; }
  // Tiles may add to the rows above `end`: those that no call before this one named begin at zero.
  // Rows more than the band's height above it are given up.
  void reach(int64_t end);

  // Rows [begin, end) of the sums: f32 (images, end - begin, columns, channels).
  Tensor take(int64_t begin, int64_t end);
  // Their classes, where the sums are probabilities: u8 (images, end - begin, columns, 1).
  Tensor take_classes(int64_t begin, int64_t end);

 private:
  // body(image, first row in the band, how many, rows before them) for each stretch of rows that
  // lies together.
  template <class F>
  void for_each_stretch(int64_t begin, int64_t end, F&& body) const;
  Tensor download(const Buffer& from, int64_t channels, DType dtype, int64_t begin, int64_t end);

  SessionOptions options_;
  Shape shape_;
  std::shared_ptr<Buffer> sums_, classes_;
  std::unique_ptr<Session> classify_;  // from the first use on
  Staging staging_;
  int64_t end_ = 0;  // of the rows that were reached
};

}  // namespace unetd
