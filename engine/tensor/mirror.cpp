#include "engine/tensor/mirror.h"

#include "engine/base/error.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace unetd {

std::vector<int64_t> mirrored_line(int64_t begin, int64_t count, int64_t size) {
  UNETD_CHECK(size > 0 && count >= 0, count, " pixels of a line of ", size);
  const int64_t period = std::max<int64_t>(2 * (size - 1), 1);
  std::vector<int64_t> line;
  for (int64_t i = begin; i < begin + count; ++i) {
    const int64_t at = (i % period + period) % period;
    line.push_back(at < size ? at : period - at);
  }
  return line;
}

Tensor take_pixels(const Tensor& images, std::span<const int64_t> rows,
                   std::span<const int64_t> columns) {
  const Shape s = images.shape();
  const auto inside = [](std::span<const int64_t> line, int64_t size) {
    return std::ranges::all_of(line, [&](int64_t i) { return i >= 0 && i < size; });
  };
  UNETD_CHECK(inside(rows, s.h) && inside(columns, s.w), "pixels beyond images of ", s);
  Tensor result({s.n, std::ssize(rows), std::ssize(columns), s.c}, images.dtype());
  const size_t pixel = static_cast<size_t>(s.c) * size_of(images.dtype());
  const auto* from = static_cast<const std::byte*>(images.data());
  auto* to = static_cast<std::byte*>(result.data());
  for (int64_t n = 0; n < s.n; ++n) {
    for (const int64_t row : rows) {
      const std::byte* const line = from + static_cast<size_t>((n * s.h + row) * s.w) * pixel;
      for (const int64_t column : columns) {
        std::memcpy(to, line + static_cast<size_t>(column) * pixel, pixel);
        to += pixel;
      }
    }
  }
  return result;
}

}  // namespace unetd
