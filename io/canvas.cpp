#include "io/canvas.h"

#include "engine/base/error.h"
#include "io/font.h"

#include <algorithm>
#include <cmath>

namespace unetd::io {
namespace {

constexpr int64_t zoom = 2;  // pixels along each side of a pixel of the font
constexpr int64_t advance = (glyph_width + 1) * zoom;

// Bytes that continue a character of UTF-8 are not drawn.
bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

int64_t characters(std::string_view line) {
  return std::count_if(line.begin(), line.end(), [](char c) { return !continues(c); });
}

}  // namespace

Canvas::Canvas(int64_t width, int64_t height) : picture_({1, height, width, 3}, DType::u8) {
  UNETD_CHECK(width > 0 && height > 0, "a canvas of ", width, "x", height);
  std::ranges::fill(picture_.span<uint8_t>(), uint8_t{255});
}

void Canvas::fill(const Window& area, Rgb color, double opacity) {
  const Window inner = intersection(area, {0, 0, width(), height()});
  const auto pixels = picture_.span<uint8_t>();
  for (int64_t y = inner.y; y < inner.y + inner.height; ++y) {
    auto* to = pixels.data() + 3 * (y * width() + inner.x);
    for (int64_t i = 0; i < 3 * std::max<int64_t>(inner.width, 0); ++i, ++to)
      *to = static_cast<uint8_t>(
          std::lround(opacity * color[static_cast<size_t>(i % 3)] + (1 - opacity) * *to));
  }
}

void Canvas::frame(const Window& area, Rgb color, int64_t thickness, double opacity) {
  const int64_t t = std::min({thickness, area.width, area.height});
  const int64_t sides = std::max<int64_t>(area.height - 2 * t, 0);
  fill({area.x, area.y, area.width, t}, color, opacity);
  fill({area.x, area.y + std::max(area.height - t, t), area.width, t}, color, opacity);
  fill({area.x, area.y + t, t, sides}, color, opacity);
  fill({area.x + std::max(area.width - t, t), area.y + t, t, sides}, color, opacity);
}

void Canvas::draw(const Tensor& picture, int64_t x, int64_t y) {
  const Shape& s = picture.shape();
  UNETD_CHECK(picture.dtype() == DType::u8 && s.n == 1 && s.c == 4, "picture ", s);
  const auto from = picture.span<uint8_t>();
  for (int64_t i = 0; i < s.pixels(); ++i) {
    const auto at = static_cast<size_t>(4 * i);
    if (from[at + 3] == 0) continue;
    fill({x + i % s.w, y + i / s.w, 1, 1}, {from[at], from[at + 1], from[at + 2]},
         from[at + 3] / 255.0);
  }
}

void Canvas::text(int64_t x, int64_t y, std::string_view line, Rgb color) {
  for (const char c : line) {
    if (continues(c)) continue;
    const Glyph glyph = glyph_of(c);
    for (int64_t i = 0; i < glyph_width * glyph_height; ++i) {
      const int64_t column = i % glyph_width, row = i / glyph_width;
      const auto bits = static_cast<unsigned>(glyph.rows[static_cast<size_t>(row)]);
      if ((bits >> static_cast<unsigned>(glyph_width - 1 - column) & 1U) != 0)
        fill({x + zoom * column, y + zoom * (row + glyph.lowered), zoom, zoom}, color);
    }
    x += advance;
  }
}

int64_t text_width(std::string_view line) {
  return std::max<int64_t>(characters(line) * advance - zoom, 0);
}

int64_t text_height() { return (glyph_height + glyph_tail) * zoom; }

std::string fitted(std::string_view line, int64_t width) {
  if (text_width(line) <= width) return std::string(line);
  std::string_view start = line;
  const auto too_wide = [&] { return text_width(start) + 2 * advance > width; };
  while (!start.empty() && (too_wide() || continues(line[start.size()]))) start.remove_suffix(1);
  return std::string(start) + "..";
}

}  // namespace unetd::io
