// Logical extents of a rank-4 tensor. Images are (n, h, w, c); a vector is (1, 1, 1, c); a
// convolution filter is (n = output channels, h = kernel rows, w = kernel columns, c = input
// channels). How elements lie in memory is a matter of the layout (layout.h), not of the shape.
#pragma once

#include <cstdint>
#include <ostream>

namespace unetd {

struct Shape {
  int64_t n = 1, h = 1, w = 1, c = 1;

  bool operator==(const Shape&) const = default;
  constexpr int64_t count() const { return n * h * w * c; }
  constexpr int64_t pixels() const { return n * h * w; }
};

inline std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << s.n << 'x' << s.h << 'x' << s.w << 'x' << s.c;
}

}  // namespace unetd
