// A bitmap font for pictures: the 95 printable characters of ASCII, five pixels wide, seven high,
// and two more below the line for the tails of g, p, q and y.
#pragma once

#include <array>
#include <cstdint>

namespace unetd::io {

inline constexpr int64_t glyph_width = 5, glyph_height = 7, glyph_tail = 2;

struct Glyph {
  std::array<uint8_t, glyph_height> rows{};  // from the top; the leftmost pixel is bit 4
  int64_t lowered = 0;                       // rows by which it stands lower than others
};

// A hollow box for everything that is no printable ASCII.
Glyph glyph_of(char c);

}  // namespace unetd::io
