// A picture to draw on, white at first: areas, frames, other pictures, and text in a bitmap font.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace unetd::io {

using Rgb = std::array<uint8_t, 3>;

class Canvas {
 public:
  Canvas(int64_t width, int64_t height);

  // What reaches outside the canvas is cut off. `opacity` lies in [0, 1].
  void fill(const Window& area, Rgb color, double opacity = 1);
  // The rim of an area, `thickness` pixels wide, inside it.
  void frame(const Window& area, Rgb color, int64_t thickness = 1, double opacity = 1);
  // An RGBA picture with its upper left pixel at (x, y); its transparent pixels change nothing.
  void draw(const Tensor& picture, int64_t x, int64_t y);
  // One line of UTF-8 text, its upper left corner at (x, y). A character beyond ASCII is a box.
  void text(int64_t x, int64_t y, std::string_view line, Rgb color = {30, 30, 30});

  int64_t width() const { return picture_.shape().w; }
  int64_t height() const { return picture_.shape().h; }
  const Tensor& picture() const { return picture_; }  // {1, h, w, 3} u8

 private:
  Tensor picture_;
};

// Pixels that a line of text takes across, and from the top of its letters to the end of their
// tails.
int64_t text_width(std::string_view line);
int64_t text_height();
// The text, or its beginning and two dots, so that it is not wider than `width`.
std::string fitted(std::string_view line, int64_t width);

}  // namespace unetd::io
