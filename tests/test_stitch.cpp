// Tiling and stitching: geometry by its invariants, and whole maps against one pass over the scene.
#include "engine/tensor/mirror.h"
#include "io/stitch.h"
#include "io/tile_plan.h"
#include "tests/support/map_source.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <set>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

constexpr int64_t pool = 8;  // the total down-sampling of the network that the tests fake

// A scene of one band in memory, small whole numbers so that sums are exact.
struct FakeScene {
  int64_t width, height;
  std::vector<float> pixels;
  std::vector<uint8_t> valid;

  FakeScene(int64_t w, int64_t h) : width(w), height(h) {
    for (int64_t i = 0; i < w * h; ++i) pixels.push_back(static_cast<float>(i * 7919 % 251));
    valid.assign(pixels.size(), 1);
  }
  Window whole() const { return {0, 0, width, height}; }
  size_t at(int64_t x, int64_t y) const { return static_cast<size_t>(y * width + x); }

  Raster read(const Window& window) const {
    const Shape shape{1, window.height, window.width, 1};
    Raster result{Tensor(shape, DType::f32), Tensor(shape, DType::u8)};
    for (int64_t y = 0; y < window.height; ++y)
      for (int64_t x = 0; x < window.width; ++x) {
        if (!whole().contains({window.x + x, window.y + y, 1, 1})) continue;
        const auto to = static_cast<size_t>(y * window.width + x);
        result.image.span<float>()[to] = pixels[at(window.x + x, window.y + y)];
        result.valid.span<uint8_t>()[to] = valid[at(window.x + x, window.y + y)];
      }
    return result;
  }
};

// A network of two outputs: the sum of a box with zero padding, as a convolution has, and the
// maximum of the pooling cell, floor-divided at the end as pooling does.
Tensor box_and_pool(const Tensor& image, int64_t radius) {
  const int64_t h = image.shape().h, w = image.shape().w;
  const auto from = image.span<float>();
  Tensor result({1, h, w, 2}, DType::f32);
  const auto to = result.span<float>();
  const auto value = [&](int64_t x, int64_t y) { return from[static_cast<size_t>(y * w + x)]; };
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x) {
      float sum = 0, best = 0;
      for (int64_t v = std::max<int64_t>(y - radius, 0); v <= std::min(y + radius, h - 1); ++v)
        for (int64_t u = std::max<int64_t>(x - radius, 0); u <= std::min(x + radius, w - 1); ++u)
          sum += value(u, v);
      const int64_t top = y / pool * pool, left = x / pool * pool;
      if (top + pool <= h && left + pool <= w)
        for (int64_t k = 0; k < pool * pool; ++k)
          best = std::max(best, value(left + k % pool, top + k / pool));
      to[static_cast<size_t>(2 * (y * w + x))] = sum;
      to[static_cast<size_t>(2 * (y * w + x)) + 1] = best;
    }
  return result;
}

// Collects a map and counts how often each pixel came.
struct Canvas {
  Window whole;
  Tensor values;
  std::vector<int> writes;
  std::vector<uint8_t> valid;
  int64_t highest = 0;

  Canvas(const FakeScene& scene, int64_t classes)
      : whole(scene.whole()),
        values({1, scene.height, scene.width, classes}, DType::f32),
        writes(scene.pixels.size()),
        valid(scene.pixels.size()) {}

  MapSink sink() {
    return [this](const Window& window, const Tensor& part, const Tensor& ok) {
      REQUIRE(whole.contains(window));
      highest = std::max(highest, window.height);
      const auto c = static_cast<size_t>(values.shape().c);
      for (int64_t y = 0; y < window.height; ++y)
        for (int64_t x = 0; x < window.width; ++x) {
          const auto from = static_cast<size_t>(y * window.width + x);
          const auto to = static_cast<size_t>((window.y + y) * whole.width + window.x + x);
          ++writes[to];
          valid[to] = ok.span<uint8_t>()[from];
          for (size_t k = 0; k < c; ++k)
            values.span<float>()[to * c + k] = part.span<float>()[from * c + k];
        }
    };
  }
  bool complete() const {
    return std::all_of(writes.begin(), writes.end(), [](int n) { return n == 1; });
  }
};

ReadWindow reader(const FakeScene& scene) {
  return [&scene](const Window& window) { return scene.read(window); };
}

void stitch(const ReadWindow& read, const TilePlan& plan, Predict predict, const MapSink& sink,
            const Progress& progress = {}) {
  FunctionSource source(plan, std::move(predict));
  stitch(read, plan, source, sink, progress);
}

bool equal(const Tensor& a, const Tensor& b) {
  const auto x = a.span<float>(), y = b.span<float>();
  return a.shape() == b.shape() && std::equal(x.begin(), x.end(), y.begin());
}

// Does the map stitched by `plan` equal one pass over the whole scene, bit for bit?
bool equals_one_pass(const FakeScene& scene, const TilePlan& plan, int64_t radius) {
  Canvas canvas(scene, 2);
  const auto predict = [&](const Tensor& image, const Tensor&, const Window&) {
    return box_and_pool(image, radius);
  };
  stitch(reader(scene), plan, predict, canvas.sink());
  REQUIRE(canvas.complete());
  return equal(canvas.values, box_and_pool(scene.read(scene.whole()).image, radius));
}

void check_exact_axis(const std::vector<TileSpan>& spans, int64_t extent, int64_t tile,
                      int64_t halo, int64_t stride) {
  const auto round_up = [&](int64_t a) { return (a + stride - 1) / stride * stride; };
  std::set<int64_t> sizes;
  int64_t next = 0;
  for (const TileSpan& s : spans) {
    CHECK(s.write_begin == next);
    CHECK(s.write_size() > 0);
    next = s.write_end;
    CHECK(s.read_begin % stride == 0);
    CHECK((s.read_end % stride == 0 || s.read_end == extent));
    CHECK(s.read_begin <= std::max<int64_t>(s.write_begin - halo, 0));
    CHECK(s.read_end >= std::min(s.write_end + halo, extent));
    CHECK(s.read_begin >= 0);
    CHECK(s.read_end <= extent);
    CHECK(s.read_size() <= round_up(tile) + 2 * round_up(halo));
    CHECK(s.weights.empty());
    sizes.insert(s.read_size());
  }
  CHECK(next == extent);
  CHECK(sizes.size() <= (extent % stride == 0 ? 1 : 2));
}

TEST_CASE("exact plan: cores partition the scene, windows are aligned and hold the halo", "[io]") {
  for (const int64_t extent : {1, 2, 7, 15, 16, 17, 64, 100, 257, 512, 619, 743, 1001})
    for (const int64_t tile : {1, 16, 50, 128, 384})
      for (const int64_t halo : {0, 1, 16, 93})
        for (const int64_t stride : {1, 8, 16}) {
          CAPTURE(extent, tile, halo, stride);
          const TilePlan plan = plan_exact(extent, 1, tile, halo, stride);
          check_exact_axis(plan.columns, extent, tile, halo, stride);
          check_exact_axis(plan.rows, 1, tile, halo, stride);
        }
}

TEST_CASE("exact stitching equals one pass over the whole scene", "[io]") {
  const auto [width, height] = GENERATE(
      table<int64_t, int64_t>({{1, 1}, {5, 90}, {64, 64}, {65, 63}, {97, 131}, {119, 143}}));
  const FakeScene scene(width, height);
  for (const int64_t tile : {1, 16, 24, 40, 200})
    for (const int64_t radius : {0, 3, 9}) {
      CAPTURE(width, height, tile, radius);
      CHECK(equals_one_pass(scene, plan_exact(width, height, tile, radius, pool), radius));
    }
}

// A network without padding: sums of boxes, for the pixels of which the whole box is there.
Tensor valid_box(const Tensor& image, int64_t radius) {
  const int64_t h = image.shape().h - 2 * radius, w = image.shape().w - 2 * radius;
  Tensor result({1, h, w, 1}, DType::f32);
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x)
      for (int64_t k = 0; k < (2 * radius + 1) * (2 * radius + 1); ++k)
        result.span<float>()[static_cast<size_t>(y * w + x)] +=
            image.span<float>()[static_cast<size_t>((y + k / (2 * radius + 1)) * image.shape().w +
                                                    x + k % (2 * radius + 1))];
  return result;
}

TEST_CASE("windows with surroundings lie on one grid and are long enough", "[io]") {
  constexpr int64_t margin = 13;
  const auto side = [](int64_t size) { return size + 2 * margin + 4; };
  for (const int64_t extent : {1, 7, 64, 100, 257, 743})
    for (const int64_t tile : {1, 16, 50, 384})
      for (const bool blend : {false, true}) {
        CAPTURE(extent, tile, blend);
        const TilePlan inner = blend ? plan_blend(extent, 1, tile, 0.5, pool, BlendWindow::hann)
                                     : plan_exact(extent, 1, tile, 0, pool);
        const TilePlan plan = with_surroundings(inner, {margin, pool, side});
        CHECK(plan.mirrored);
        REQUIRE(plan.columns.size() == inner.columns.size());
        for (size_t i = 0; i < plan.columns.size(); ++i) {
          const TileSpan &s = plan.columns[i], &before = inner.columns[i];
          CHECK(s.write_begin == before.write_begin);
          CHECK(s.write_end == before.write_end);
          CHECK(s.weights == before.weights);
          CHECK((blend || (s.read_begin + margin) % pool == 0));
          CHECK((s.read_size() - 2 * margin - 4) % pool == 0);
          CHECK(s.read_begin + margin <= s.write_begin);
          CHECK(s.read_end - margin >= s.write_end);
        }
      }
}

TEST_CASE("a network without padding maps a mirrored scene without a seam", "[io]") {
  const FakeScene scene(45, 38);
  constexpr int64_t radius = 5;
  const auto read = [&](const Window& window) {
    const std::vector<int64_t> rows = mirrored_line(window.y, window.height, scene.height);
    const std::vector<int64_t> columns = mirrored_line(window.x, window.width, scene.width);
    const Raster whole = scene.read(scene.whole());
    return Raster{take_pixels(whole.image, rows, columns), take_pixels(whole.valid, rows, columns)};
  };
  const auto mapped = [&](int64_t tile) {
    const TilePlan plan =
        with_surroundings(plan_exact(45, 38, tile, 0, pool),
                          {radius, pool, [=](int64_t size) { return size + 2 * radius; }});
    Canvas canvas(scene, 1);
    class Source final : public MapSource {
     public:
      explicit Source(const TilePlan& plan) : plan_(plan) {}
      void add(const Tensor& image, const Tensor&, int64_t tile) override {
        const Window seen = plan_.read_window(tile);
        values_ = valid_box(image, radius);
        window_ = {seen.x + radius, seen.y + radius, values_.shape().w, values_.shape().h};
      }
      Tensor take(const Window& part) override { return crop(values_, window_, part); }

     private:
      const TilePlan& plan_;
      Window window_{};
      Tensor values_;
    } source(plan);
    io::stitch(read, plan, source, canvas.sink());
    CHECK(canvas.complete());
    return std::move(canvas.values);
  };
  const Tensor whole = mapped(100);
  CHECK(whole.span<float>()[0] > 0);
  for (const int64_t tile : {8, 16}) CHECK(equal(mapped(tile), whole));
}

TEST_CASE("exact stitching needs the halo and the stride", "[io]") {
  const FakeScene scene(97, 131);
  CHECK(equals_one_pass(scene, plan_exact(97, 131, 24, 16, pool), 16));
  CHECK_FALSE(equals_one_pass(scene, plan_exact(97, 131, 24, 8, pool), 9));
  CHECK_FALSE(equals_one_pass(scene, plan_exact(97, 131, 25, 9, 1), 9));
}

TEST_CASE("blend plan: one size, positive weights that sum to one", "[io]") {
  const auto window = GENERATE(BlendWindow::hann, BlendWindow::triangular, BlendWindow::gaussian);
  for (const int64_t extent : {1, 15, 64, 65, 200, 743})
    for (const int64_t tile : {16, 60, 128})
      for (const double overlap : {0.0, 0.25, 0.5, 0.9}) {
        CAPTURE(extent, tile, overlap);
        const auto spans = plan_blend(extent, extent, tile, overlap, 16, window).columns;
        std::vector<double> sums(static_cast<size_t>(extent));
        for (size_t i = 0; i < spans.size(); ++i) {
          const TileSpan& s = spans[i];
          CHECK(s.read_size() == spans.front().read_size());
          CHECK(s.read_size() % 16 == 0);
          CHECK((s.read_end <= extent || spans.size() == 1));
          REQUIRE(static_cast<int64_t>(s.weights.size()) == s.write_size());
          for (size_t k = 0; k < s.weights.size(); ++k) {
            CHECK(s.weights[k] > 0);
            sums[static_cast<size_t>(s.write_begin) + k] += static_cast<double>(s.weights[k]);
          }
          if (i > 0) {
            const auto shared = static_cast<double>(spans[i - 1].read_end - s.read_begin);
            CHECK(shared >= overlap * static_cast<double>(s.read_size()) - 1);
          }
        }
        for (const double sum : sums) CHECK(sum == Approx(1).margin(1e-6));
      }
}

TEST_CASE("blend weights fall inside the scene, not at its borders", "[io]") {
  const auto spans = plan_blend(160, 160, 64, 0.9, 16, BlendWindow::hann).columns;
  const TileSpan &first = spans.front(), &last = spans.back();
  // The corner pixel lies in one tile only; further in, the first tile outweighs its neighbours.
  CHECK(first.weights.front() == 1);
  CHECK(last.weights.back() == 1);
  CHECK(first.weights[10] > spans[1].weights[static_cast<size_t>(10 - spans[1].write_begin)]);
  CHECK(first.weights.back() < 0.01F);
}

TEST_CASE("a blend of what all tiles agree on is that", "[io]") {
  const auto [width, height] =
      GENERATE(table<int64_t, int64_t>({{1, 1}, {20, 9}, {64, 65}, {131, 97}}));
  const FakeScene scene(width, height);
  for (const auto window : {BlendWindow::hann, BlendWindow::triangular, BlendWindow::gaussian})
    for (const double overlap : {0.0, 0.3, 0.75}) {
      CAPTURE(width, height, overlap);
      Canvas canvas(scene, 1);
      const TilePlan plan = plan_blend(width, height, 32, overlap, pool, window);
      stitch(
          reader(scene), plan,
          [](const Tensor& image, const Tensor&, const Window&) { return image.clone(); },
          canvas.sink());
      CHECK(canvas.complete());
      CHECK(canvas.highest <= 32);  // bounded memory: never more rows than a tile has
      const auto values = canvas.values.span<float>();
      for (size_t i = 0; i < values.size(); ++i)
        CHECK(values[i] == Approx(scene.pixels[i]).margin(1e-4));
    }
}

TEST_CASE("a blend where tiles disagree lies between them", "[io]") {
  const FakeScene scene(96, 32);
  Canvas canvas(scene, 1);
  stitch(
      reader(scene), plan_blend(96, 32, 64, 0.5, pool, BlendWindow::hann),
      [](const Tensor& image, const Tensor&, const Window& window) {
        Tensor constant(image.shape(), DType::f32);
        for (float& v : constant.span<float>()) v = window.x == 0 ? 0.0F : 1.0F;
        return constant;
      },
      canvas.sink());
  const auto row = canvas.values.span<float>().first(96);
  CHECK(row.front() == 0);
  CHECK(row.back() == 1);
  CHECK(std::is_sorted(row.begin(), row.end()));
  CHECK(row[48] == Approx(0.5).margin(0.05));
}

TEST_CASE("nodata stays nodata and tiles without data are not predicted", "[io]") {
  FakeScene scene(120, 104);
  for (int64_t y = 0; y < scene.height; ++y)
    for (int64_t x = 0; x < scene.width; ++x)
      if (x < 70 || (x * y) % 11 == 3 || y > 90) scene.valid[scene.at(x, y)] = 0;
  for (const bool blend : {false, true}) {
    CAPTURE(blend);
    const TilePlan plan = blend ? plan_blend(120, 104, 24, 0.5, pool, BlendWindow::gaussian)
                                : plan_exact(120, 104, 16, 8, pool);
    Canvas canvas(scene, 1);
    int64_t predicted = 0, done = 0;
    stitch(
        reader(scene), plan,
        [&](const Tensor& image, const Tensor&, const Window&) {
          ++predicted;
          return image.clone();
        },
        canvas.sink(),
        [&](int64_t now, int64_t total) {
          CHECK(now == ++done);
          CHECK(total == plan.count());
        });
    CHECK(done == plan.count());
    CHECK(canvas.valid == scene.valid);
    CHECK(predicted < plan.count() * 2 / 3);
    for (size_t i = 0; i < scene.valid.size(); ++i)
      if (scene.valid[i] != 0) {
        CHECK(canvas.writes[i] == 1);
        CHECK(canvas.values.span<float>()[i] == Approx(scene.pixels[i]).margin(1e-4));
      }
  }
}

TEST_CASE("the next tile is read while this one is computed", "[io]") {
  const FakeScene scene(128, 16);
  const TilePlan plan = plan_exact(128, 16, 16, 0, pool);
  const auto caller = std::this_thread::get_id();
  std::atomic<int64_t> reads{0};
  std::atomic<bool> other_thread{true};
  const auto read = [&](const Window& window) {
    ++reads;
    if (std::this_thread::get_id() == caller) other_thread = false;
    return scene.read(window);
  };
  int64_t predicted = 0;
  const auto predict = [&](const Tensor& image, const Tensor&, const Window&) {
    ++predicted;
    const int64_t wanted = std::min(predicted + 1, plan.count());
    for (int i = 0; i < 2000 && reads < wanted; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(reads == wanted);  // not later, and never further ahead
    return image.clone();
  };
  stitch(read, plan, predict, Canvas(scene, 1).sink());
  CHECK(predicted == 8);
  CHECK(other_thread);
}

TEST_CASE("stitching passes failures on", "[io]") {
  const FakeScene scene(64, 64);
  const TilePlan plan = plan_exact(64, 64, 16, 8, pool);
  const auto copy = [](const Tensor& image, const Tensor&, const Window&) { return image.clone(); };
  const auto nothing = [](const Window&, const Tensor&, const Tensor&) {};
  const auto broken_read = [&](const Window& window) {
    if (window.x > 20) throw UserError("damaged block");
    return scene.read(window);
  };
  CHECK_THROWS_WITH(stitch(broken_read, plan, copy, nothing), "damaged block");
  const auto stop = [](int64_t done, int64_t) {
    if (done == 2) throw std::runtime_error("interrupted");
  };
  CHECK_THROWS_WITH(stitch(reader(scene), plan, copy, nothing, stop), "interrupted");
  const auto wrong_size = [](const Tensor&, const Tensor&, const Window&) {
    return Tensor({1, 3, 3, 1}, DType::f32);
  };
  CHECK_THROWS_AS(stitch(reader(scene), plan, wrong_size, nothing), Error);
}

TEST_CASE("plans refuse senseless arguments", "[io]") {
  CHECK_THROWS_AS(plan_exact(10, 10, 0, 1, 1), UsageError);
  CHECK_THROWS_AS(plan_exact(10, 10, 16, -1, 1), UsageError);
  CHECK_THROWS_AS(plan_exact(0, 10, 16, 1, 1), Error);
  CHECK_THROWS_AS(plan_blend(10, 10, 16, 0.95, 1, BlendWindow::hann), UsageError);
  CHECK_THROWS_AS(plan_blend(10, 10, 16, std::nan(""), 1, BlendWindow::hann), UsageError);
  CHECK_THROWS_AS(parse_blend_window("square"), UsageError);
  CHECK(parse_blend_window("gaussian") == BlendWindow::gaussian);
}

}  // namespace
}  // namespace unetd::io
