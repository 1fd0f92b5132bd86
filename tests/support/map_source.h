// A network for tests of stitching: a function from images to values. Blended tiles are summed
// where those of a real network are.
#pragma once

#include "engine/autograd/ops.h"
#include "engine/op/blend_tile.h"
#include "io/stitch.h"
#include "kernels/register.h"
#include "unet/band.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace unetd {

// The values f32 {1, h, w, c} of a tile, from image and validity of its window.
using Predict =
    std::function<Tensor(const Tensor& image, const Tensor& valid, const io::Window& window)>;

class FunctionSource final : public io::MapSource {
 public:
  FunctionSource(const io::TilePlan& plan, Predict predict)
      : plan_(plan), predict_(std::move(predict)) {
    register_kernels();
  }

  void add(const Tensor& image, const Tensor& valid, int64_t tile) override {
    window_ = plan_.read_window(tile);
    values_ = predict_(image, valid, window_);
    if (plan_.blended()) blend(plan_.row(tile), plan_.column(tile));
  }
  Tensor take(const io::Window& part) override {
    if (plan_.blended()) return band_->take(part.y, part.y + part.height);
    return io::crop(values_, window_, part);
  }

 private:
  void blend(const io::TileSpan& row, const io::TileSpan& column) {
    const Shape s = values_.shape();
    if (!band_) {
      Shape shape{1, 0, plan_.columns.back().write_end, s.c};
      for (const io::TileSpan& span : plan_.rows) shape.h = std::max(shape.h, span.write_size());
      band_.emplace(SessionOptions{}, shape);
    }
    band_->reach(row.write_end);
    const int64_t side = std::max(s.h, s.w);
    std::vector<float> weights(static_cast<size_t>(2 * side));
    std::ranges::copy(row.weights, weights.begin());
    std::ranges::copy(column.weights, weights.begin() + side);
    const TilePlace place{static_cast<int32_t>(row.write_begin % band_->shape().h),
                          static_cast<int32_t>(column.write_begin), 0};
    Graph g;
    const Value values = g.input(s, DType::f32, "values");
    const TilePlacement at{g.input({1, 1, 2, side}, DType::f32, "weights", Kind::dense),
                           g.input({1, 1, 1, 3}, DType::i32, "place", Kind::dense)};
    blend_tile(g, values, at, band_->sums(g));
    Session session(g, {});
    session.write(values, values_);
    session.write_dense(at.weights, std::as_bytes(std::span(weights)));
    session.write_dense(at.place, std::as_bytes(std::span(&place, 1)));
    session.run();
  }

  const io::TilePlan& plan_;
  Predict predict_;
  io::Window window_{};
  Tensor values_;  // of the last tile
  std::optional<Band> band_;
};

}  // namespace unetd
