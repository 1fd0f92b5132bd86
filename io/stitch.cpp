#include "io/stitch.h"

#include "engine/base/error.h"
#include "engine/base/threads.h"

#include <algorithm>
#include <cstring>
#include <future>

namespace unetd::io {
namespace {

std::byte* row_of(Tensor& t, int64_t row) {
  const size_t pitch = t.bytes() / static_cast<size_t>(t.shape().h);
  return static_cast<std::byte*>(t.data()) + static_cast<size_t>(row) * pitch;
}

// The part of an image of window `from` that lies in `part`.
Tensor crop(const Tensor& image, const Window& from, const Window& part) {
  UNETD_CHECK(from.contains(part), "cannot cut ", part, " out of ", from);
  const Shape s = image.shape();
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

bool any_valid(const Tensor& valid) {
  const auto pixels = valid.span<uint8_t>();
  return std::any_of(pixels.begin(), pixels.end(), [](uint8_t v) { return v != 0; });
}

void check_prediction(const Tensor& values, const Window& window) {
  const Shape s = values.shape();
  UNETD_CHECK(values.dtype() == DType::f32 && s.n == 1 && s.h == window.height &&
                  s.w == window.width && s.c > 0,
              "prediction ", s, " for ", window);
}

// The weighted sums of all rows that later tiles still add to.
class BlendBand {
 public:
  BlendBand(const TilePlan& plan, const MapSink& sink)
      : width_(plan.columns.back().write_end), sink_(sink) {
    for (const TileSpan& row : plan.rows) height_ = std::max(height_, row.write_size());
  }

  // `values` and `valid` are those of the tile's write window.
  void add(const TileSpan& column, const TileSpan& row, const Tensor& values, const Tensor& valid) {
    const int64_t c = values.shape().c, w = column.write_size();
    if (sums_.empty()) allocate(c);
    UNETD_CHECK(sums_.shape().c == c, "tiles of ", sums_.shape().c, " and of ", c, " classes");
    const auto from = values.span<float>();
    const auto ok = valid.span<uint8_t>();
    parallel_for(row.write_size(), [&](int64_t y) {
      const int64_t to = (row.write_begin - top_ + y) * width_ + column.write_begin;
      float* sum = sums_.span<float>().data() + to * c;
      std::memcpy(valid_.span<uint8_t>().data() + to, ok.data() + y * w, static_cast<size_t>(w));
      for (int64_t x = 0; x < w; ++x) {
        const float weight =
            row.weights[static_cast<size_t>(y)] * column.weights[static_cast<size_t>(x)];
        const float* value = from.data() + (y * w + x) * c;
        for (int64_t k = 0; k < c; ++k) sum[x * c + k] += weight * value[k];
      }
    });
  }

  // No tile will add above row `bottom` any more: hands those rows on and moves the band down.
  void finish_above(int64_t bottom) {
    const int64_t rows = bottom - top_;
    if (!sums_.empty()) {
      const Window band{0, top_, width_, height_}, done{0, top_, width_, rows};
      const Tensor valid = crop(valid_, band, done);
      if (any_valid(valid)) sink_(done, crop(sums_, band, done), valid);
      slide(sums_, rows);
      slide(valid_, rows);
    }
    top_ = bottom;
  }

 private:
  void allocate(int64_t classes) {
    sums_ = Tensor({1, height_, width_, classes}, DType::f32);
    valid_ = Tensor({1, height_, width_, 1}, DType::u8);
  }

  static void slide(Tensor& t, int64_t rows) {
    const auto pitch = t.bytes() / static_cast<size_t>(t.shape().h);
    const auto kept = static_cast<size_t>(t.shape().h - rows) * pitch;
    std::memmove(t.data(), row_of(t, rows), kept);
    std::memset(row_of(t, t.shape().h - rows), 0, static_cast<size_t>(rows) * pitch);
  }

  int64_t width_, height_ = 0, top_ = 0;  // top_: the scene's row that is row 0 of the band
  const MapSink& sink_;
  Tensor sums_, valid_;
};

}  // namespace

void stitch(const ReadWindow& read, const TilePlan& plan, const Predict& predict,
            const MapSink& sink, const Progress& progress) {
  const int64_t tiles = plan.count(), columns = static_cast<int64_t>(plan.columns.size());
  BlendBand band(plan, sink);
  const auto fetch = [&](int64_t tile) {
    return std::async(std::launch::async, [&, tile] { return read(plan.read_window(tile)); });
  };
  std::future<Raster> next = fetch(0);
  for (int64_t i = 0; i < tiles; ++i) {
    const Window window = plan.read_window(i), part = plan.write_window(i);
    const Raster input = next.get();
    if (i + 1 < tiles) next = fetch(i + 1);
    const Tensor valid = crop(input.valid, window, part);
    if (any_valid(valid)) {
      Tensor values = predict(input.image, input.valid, window);
      check_prediction(values, window);
      if (part != window) values = crop(values, window, part);
      if (plan.blended())
        band.add(plan.column(i), plan.row(i), values, valid);
      else
        sink(part, values, valid);
    }
    if (plan.blended() && (i + 1) % columns == 0)
      band.finish_above(i + 1 < tiles ? plan.row(i + 1).write_begin : plan.row(i).write_end);
    if (progress) progress(i + 1, tiles);
  }
}

void stitch(const Scene& scene, const TilePlan& plan, const Predict& predict, const MapSink& sink,
            const Progress& progress) {
  const Grid& grid = scene.grid();
  UNETD_CHECK(
      plan.columns.back().write_end == grid.width && plan.rows.back().write_end == grid.height,
      "plan of another size than ", scene.path().string());
  stitch([&](const Window& window) { return scene.read(window, Outside::pad); }, plan, predict,
         sink, progress);
}

}  // namespace unetd::io
