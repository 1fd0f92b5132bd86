#include "io/stitch.h"

#include "engine/base/error.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <utility>

namespace unetd::io {
namespace {

std::byte* row_of(Tensor& t, int64_t row) {
  const size_t pitch = t.bytes() / static_cast<size_t>(t.shape().h);
  return static_cast<std::byte*>(t.data()) + static_cast<size_t>(row) * pitch;
}

bool any_valid(const Tensor& valid) {
  const auto pixels = valid.span<uint8_t>();
  return std::any_of(pixels.begin(), pixels.end(), [](uint8_t v) { return v != 0; });
}

// Hands a finished part on, if there is anything in it.
void hand_on(const Window& part, const Tensor& valid, MapSource& source, const MapSink& sink) {
  if (!any_valid(valid)) return;
  const Tensor values = source.take(part);
  const Shape s = values.shape();
  const bool classes = values.dtype() == DType::u8 && s.c == 1;
  UNETD_CHECK((values.dtype() == DType::f32 || classes) && s.n == 1 && s.h == part.height &&
                  s.w == part.width && s.c > 0,
              "computed ", name_of(values.dtype()), " ", s, " for ", part);
  sink(part, values, valid);
}

// Where there are data, in all rows that later tiles still add to.
class ValidBand {
 public:
  explicit ValidBand(const TilePlan& plan) : width_(plan.columns.back().write_end) {
    for (const TileSpan& row : plan.rows) height_ = std::max(height_, row.write_size());
    valid_ = Tensor({1, height_, width_, 1}, DType::u8);
  }

  void add(const Window& part, const Tensor& valid) {
    const auto from = valid.span<uint8_t>();
    const auto to = valid_.span<uint8_t>();
    for (int64_t y = 0; y < part.height; ++y) {
      std::copy_n(from.begin() + y * part.width, part.width,
                  to.begin() + (part.y - top_ + y) * width_ + part.x);
    }
  }

  // The rows from the band's first to `bottom`, which leave it.
  std::pair<Window, Tensor> finish_above(int64_t bottom) {
    const int64_t rows = bottom - top_;
    const Window band{0, top_, width_, height_}, done{0, top_, width_, rows};
    Tensor valid = crop(valid_, band, done);
    const auto gone = static_cast<size_t>(rows * width_), all = valid_.bytes();
    std::memmove(valid_.data(), row_of(valid_, rows), all - gone);
    std::memset(row_of(valid_, height_ - rows), 0, gone);
    top_ = bottom;
    return {done, std::move(valid)};
  }

 private:
  int64_t width_, height_ = 0, top_ = 0;  // top_: the scene's row that is row 0 of the band
  Tensor valid_;
};

}  // namespace

Tensor crop(const Tensor& image, const Window& from, const Window& part) {
  UNETD_CHECK(from.contains(part), "cannot cut ", part, " out of ", from);
  const Shape s = image.shape();
  UNETD_CHECK(s.n == 1 && s.h == from.height && s.w == from.width, "image ", s, " for ", from);
  Tensor result({1, part.height, part.width, s.c}, image.dtype());
  const size_t pixel = static_cast<size_t>(s.c) * size_of(image.dtype());
  const size_t run = static_cast<size_t>(part.width) * pixel;
  const auto* source = static_cast<const std::byte*>(image.data());
  for (int64_t y = 0; y < part.height; ++y) {
    const int64_t first = (part.y - from.y + y) * s.w + part.x - from.x;
    std::memcpy(row_of(result, y), source + static_cast<size_t>(first) * pixel, run);
  }
  return result;
}

void stitch(const ReadWindow& read, const TilePlan& plan, MapSource& source, const MapSink& sink,
            const Progress& progress) {
  const int64_t tiles = plan.count(), columns = static_cast<int64_t>(plan.columns.size());
  ValidBand band(plan);
  const auto fetch = [&](int64_t tile) {
    return std::async(std::launch::async, [&, tile] { return read(plan.read_window(tile)); });
  };
  std::future<Raster> next = fetch(0);
  for (int64_t i = 0; i < tiles; ++i) {
    const Window window = plan.read_window(i), part = plan.write_window(i);
    const Raster input = next.get();
    if (i + 1 < tiles) next = fetch(i + 1);
    const Tensor valid = crop(input.valid, window, part);
    if (any_valid(valid)) source.add(input.image, input.valid, i);
    if (!plan.blended()) {
      hand_on(part, valid, source, sink);
    } else {
      band.add(part, valid);
      if ((i + 1) % columns == 0) {
        const auto [rows, where] =
            band.finish_above(i + 1 < tiles ? plan.row(i + 1).write_begin : plan.row(i).write_end);
        hand_on(rows, where, source, sink);
      }
    }
    if (progress) progress(i + 1, tiles);
  }
}

void stitch(const Scene& scene, const TilePlan& plan, MapSource& source, const MapSink& sink,
            const Progress& progress) {
  const Grid& grid = scene.grid();
  UNETD_CHECK(
      plan.columns.back().write_end == grid.width && plan.rows.back().write_end == grid.height,
      "plan of another size than ", scene.path().string());
  const Outside outside = plan.mirrored ? Outside::mirror : Outside::pad;
  stitch([&](const Window& window) { return scene.read(window, outside); }, plan, source, sink,
         progress);
}

}  // namespace unetd::io
