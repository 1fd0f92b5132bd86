// The pictures that a store gets: what is drawn is what was added, and text can be read.
#include "engine/base/error.h"
#include "engine/base/ticks.h"
#include "io/canvas.h"
#include "io/class_maps.h"
#include "io/font.h"
#include "io/overview.h"
#include "io/ramp.h"
#include "io/statistics_picture.h"
#include "io/target_maps.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

Rgb pixel(const Tensor& picture, int64_t x, int64_t y) {
  const Shape& s = picture.shape();
  REQUIRE((x >= 0 && x < s.w && y >= 0 && y < s.h));
  const auto* at = picture.span<uint8_t>().data() + 3 * (y * s.w + x);
  return {at[0], at[1], at[2]};
}

int64_t pixels_of(const Tensor& picture, Rgb color) {
  int64_t count = 0;
  const Shape& s = picture.shape();
  for (int64_t i = 0; i < s.pixels(); ++i)
    count += pixel(picture, i % s.w, i / s.w) == color ? 1 : 0;
  return count;
}

constexpr Rgb black = {0, 0, 0}, white = {255, 255, 255};

StoreSchema schema_of(int64_t side, size_t sources) {
  StoreSchema schema;
  schema.patch = 10;
  schema.dtype = DType::u8;
  schema.bands = {{"grey", {}, 1, 0}};
  schema.classes = {{0, "land", "#886644"}, {1, "water", "#0044ff"}};
  schema.sources.resize(sources);
  for (StoreSource& source : schema.sources) {
    source.scene = "scene.tif";
    source.grid.width = source.grid.height = side;
  }
  return schema;
}

Raster grey_patch(uint8_t value) {
  Raster raster{Tensor({1, 10, 10, 1}, DType::u8), Tensor({1, 10, 10, 1}, DType::u8)};
  std::ranges::fill(raster.image.span<uint8_t>(), value);
  std::ranges::fill(raster.valid.span<uint8_t>(), uint8_t{1});
  return raster;
}

TEST_CASE("pictures: drawing is cut at the edges of the canvas", "[io][pictures]") {
  Canvas canvas(20, 10);
  CHECK(pixels_of(canvas.picture(), white) == 200);
  canvas.fill({-5, -5, 8, 8}, black);
  CHECK(pixels_of(canvas.picture(), black) == 9);
  canvas.fill({18, 8, 100, 100}, black);
  CHECK(pixels_of(canvas.picture(), black) == 13);
  canvas.fill({30, 3, 5, 5}, black);
  canvas.fill({3, -30, 5, 5}, black);
  canvas.frame({-9, 2, 3, 3}, black);
  CHECK(pixels_of(canvas.picture(), black) == 13);
  canvas.fill({10, 5, 1, 1}, black, 0.5);
  CHECK(pixel(canvas.picture(), 10, 5) == Rgb{128, 128, 128});
  Canvas framed(9, 9);
  framed.frame({1, 1, 7, 5}, black, 2);
  CHECK(pixels_of(framed.picture(), black) == 35 - 3);
  framed.frame({0, 8, 9, 1}, black, 3);  // thinner than its frame
  CHECK(pixels_of(framed.picture(), black) == 35 - 3 + 9);
  Tensor stamp({1, 2, 2, 4}, DType::u8);
  std::ranges::fill(stamp.span<uint8_t>(), uint8_t{0});
  stamp.span<uint8_t>()[3] = 255;  // one black pixel, three transparent ones
  Canvas stamped(4, 4);
  stamped.draw(stamp, 3, 3);
  CHECK(pixels_of(stamped.picture(), black) == 1);
  CHECK_THROWS_AS(Canvas(0, 5), Error);
}

TEST_CASE("pictures: every character has a form of its own", "[io][pictures]") {
  std::set<std::array<uint8_t, glyph_height>> forms;
  for (char c = ' '; c <= '~'; ++c) forms.insert(glyph_of(c).rows);
  CHECK(forms.size() == 95);
  CHECK_FALSE(forms.contains(glyph_of('\n').rows));
  CHECK(glyph_of('g').lowered > 0);
  CHECK(glyph_of('L').rows == std::array<uint8_t, glyph_height>{16, 16, 16, 16, 16, 16, 31});

  Canvas canvas(text_width("L") + 10, text_height());
  canvas.text(0, 0, "L", black);
  CHECK(pixels_of(canvas.picture(), black) == 11 * 4);
  CHECK(pixel(canvas.picture(), 0, 0) == black);
  CHECK(pixel(canvas.picture(), 9, 13) == black);
  CHECK(pixel(canvas.picture(), 9, 0) == white);
}

TEST_CASE("pictures: text is cut to the width there is, also within UTF-8", "[io][pictures]") {
  CHECK(text_width("") == 0);
  CHECK(text_width("abc") == text_width("a\xC3\xA4z"));  // three characters, four bytes
  CHECK(fitted("abc", text_width("abc")) == "abc");
  CHECK(fitted("abcdef", text_width("abcde")) == "abc..");
  CHECK(fitted("ab\xC3\xA4xyz", text_width("abcde")) == "ab\xC3\xA4..");
  CHECK(fitted("a\xC3\xA4\xC3\xA4xyz", text_width("abcd")) == "a\xC3\xA4..");
  CHECK(text_width(fitted("a long name of a scene", 100)) <= 100);
}

TEST_CASE("pictures: ticks are round numbers inside the axis", "[io][pictures]") {
  CHECK(round_up(0.3) == Approx(0.5));
  CHECK(round_up(20) == Approx(20));
  CHECK(ticks(-0.15, 0.31, 0.1).size() == 5);
  CHECK(ticks(0.01, 0.09, 0.1).empty());
}

TEST_CASE("pictures: a histogram holds every sample once", "[io][pictures]") {
  StatisticsAccumulator whole(DType::u8), decimal(DType::f32);
  std::vector<uint8_t> samples;
  std::vector<float> floats;
  for (int i = 0; i < 100; ++i) samples.push_back(static_cast<uint8_t>(10 + i % 4));
  for (int i = 0; i < 100; ++i) floats.push_back(static_cast<float>(i) - 49.5F);
  const std::vector<uint8_t> valid(100, 1);
  whole.add(samples.data(), valid.data(), 100, 1);
  decimal.add(floats.data(), valid.data(), 100, 1);
  const std::vector<double> exact = whole.histogram(9.5, 13.5, 4);
  for (const double share : exact) CHECK(share == Approx(0.25));
  // Between the bins of integers and of the columns: each bin is spread over what it stands for.
  const std::vector<double> fine = whole.histogram(9.5, 13.5, 6);
  for (const double share : fine) CHECK(share == Approx(1.0 / 6));
  const std::vector<double> part = whole.histogram(0, 10, 5);
  CHECK(part[4] == Approx(0.125));  // the lower half of the bin of 10
  CHECK(part[3] == 0);
  double sum = 0;
  for (const double share : decimal.histogram(-64, 64, 37)) sum += share;
  CHECK(sum == Approx(1));
  CHECK_THROWS_AS(whole.histogram(1, 1, 5), Error);
}

TEST_CASE("pictures: bands of one scale share an axis, others have their own", "[io][pictures]") {
  const std::vector<uint8_t> valid(1000, 1);
  const auto band = [&](double scale) {
    StatisticsAccumulator a(DType::f32);
    std::vector<float> samples;
    for (int i = 0; i < 1000; ++i) samples.push_back(static_cast<float>(i * scale));
    a.add(samples.data(), valid.data(), 1000, 1);
    return a;
  };
  const auto height = [&](const std::vector<SceneBand>& bands, const std::vector<double>& scales) {
    std::vector<StatisticsAccumulator> all;
    for (const double scale : scales) all.push_back(band(scale));
    return statistics_picture(bands, all).shape().h;
  };
  const SceneBand plain{"B02", {}, 1, 0}, other{"B03", {}, 1, 0}, scaled{"DEM", {}, 2, 0};
  const int64_t together = height({plain, other}, {1, 1.5});
  CHECK(height({plain, scaled, other}, {1, 1, 1}) - height({plain, other, plain}, {1, 1, 1}) ==
        height({plain, scaled}, {1, 1}) - together);  // the third goes to the first one's axis
  CHECK(height({plain, scaled}, {1, 1}) > together);
  CHECK(height({plain, other}, {1, 100}) > together);  // would be a line on the other's axis
  // A band without a sample, and one of a single value, have rows, too.
  std::vector<StatisticsAccumulator> empty(2, StatisticsAccumulator(DType::u16));
  const uint16_t value = 7;
  empty[1].add(&value, valid.data(), 1, 1);
  CHECK(statistics_picture(std::vector{plain, other}, empty).shape().h >= together);
  CHECK_THROWS_AS(statistics_picture(std::vector{plain}, empty), Error);
}

TEST_CASE("pictures: the overview shows patches in the colours of their splits", "[io][pictures]") {
  Overview overview(schema_of(40, 1));
  overview.add({0, {0, 0, 10, 10}, Split::train}, grey_patch(200));
  overview.add({0, {20, 20, 10, 10}, Split::valid}, grey_patch(10));
  overview.add({0, {30, 30, 10, 10}, Split::test}, grey_patch(10));
  const Tensor picture = overview.picture();
  const int64_t left = 16, top = picture.shape().h - 16 - 40;
  const auto inside = [&](int64_t x, int64_t y) { return pixel(picture, left + x, top + y); };
  CHECK(inside(15, 15) == white);  // no patch
  const Rgb train = inside(5, 5), valid = inside(25, 25), test = inside(35, 35);
  CHECK(train[2] > train[0]);
  CHECK(valid[0] > valid[2]);
  CHECK(test[0] > test[1]);
  CHECK((train[0] > valid[0] || train[1] > valid[1]));  // the brighter patch is brighter

  // Many sources: the first twelve, and a note on the others.
  Overview many(schema_of(40, 20));
  for (int64_t i = 0; i < 20; ++i)
    many.add({i, {35, 35, 10, 10}, Split::train}, [] {
      Raster edge = grey_patch(90);
      const auto ok = edge.valid.span<uint8_t>();
      for (size_t p = 0; p < ok.size(); ++p) ok[p] = p % 10 < 5 && p / 10 < 5 ? 1 : 0;
      return edge;
    }());
  CHECK(many.picture().shape().h > Overview(schema_of(40, 12)).picture().shape().h);
  CHECK(Overview(schema_of(3000, 1)).picture().shape().w < 1100);
  CHECK(Overview(schema_of(3000, 9)).picture().shape().w < 1500);
}

TEST_CASE("pictures: class maps are means of the masks, per cell and grid", "[io][pictures]") {
  StoreSchema schema = schema_of(480, 4);
  schema.sources[2].grid.width = 240;  // ground of its own
  ClassMaps maps(schema);
  REQUIRE(maps.grounds().size() == 2);
  CHECK(maps.grounds()[0].scenes == 3);
  Tensor labels({1, 10, 10, 1}, DType::u8);
  const auto label = labels.span<uint8_t>();
  for (size_t i = 0; i < label.size(); ++i) label[i] = i < 20 ? 1 : i < 40 ? ignore_label : 0;
  maps.add({0, {20, 470, 10, 10}, Split::train}, labels);  // cell 2 of row 47
  std::ranges::fill(label, uint8_t{1});
  maps.add({1, {20, 470, 10, 10}, Split::test}, labels);
  const ClassMaps::Ground& ground = maps.grounds()[0];
  const size_t cell = 47 * 48 + 2;
  CHECK(ground.labelled(cell) == 180);
  CHECK(ground.share(1, cell) == Approx(120.0 / 180));
  CHECK(ground.share(0, cell) == Approx(60.0 / 180));
  CHECK(ground.share(0, cell + 1) < 0);
  const int64_t before = maps.grounds()[1].labelled(0);
  maps.add({2, {0, 0, 10, 10}, Split::train}, labels);
  CHECK(maps.grounds()[1].labelled(0) > before);
  CHECK(ground.labelled(0) == 0);
  const Tensor picture = maps.picture();
  CHECK(picture.shape().w >= 2 * 48 * 6);
  CHECK(pixels_of(picture, {20, 32, 92}) >= 36 * 2);  // the most there is, in both maps
  // Grids beyond the sixth are not drawn, and do no harm.
  StoreSchema many = schema_of(100, 9);
  for (size_t i = 0; i < 9; ++i) many.sources[i].grid.height += static_cast<int64_t>(i);
  ClassMaps six(many);
  CHECK(six.grounds().size() == 6);
  six.add({8, {0, 0, 10, 10}, Split::train}, labels);
  CHECK(six.picture().shape().h > 6 * 48 * 6);
}

TEST_CASE("pictures: target maps are means of the targets, per cell and grid", "[io][pictures]") {
  StoreSchema schema = schema_of(480, 4);  // two pixels a cell
  schema.sources[2].grid.width = 240;      // ground of its own
  CHECK_THROWS_AS(TargetMaps(schema), Error);
  schema.target = Target{"height", "m"};
  TargetMaps maps(schema);
  REQUIRE(maps.grounds().size() == 2);
  CHECK(maps.grounds()[0].scenes == 3);
  CHECK(maps.range() == std::pair(0.0, 0.0));
  CHECK(pixels_of(maps.picture(), ramp_color(0)) < 50);  // the legend's only

  Tensor targets({1, 10, 10, 1}, DType::f32);
  const auto value = targets.span<float>();
  for (size_t i = 0; i < value.size(); ++i)
    value[i] = i / 10 < 2 && i % 10 < 2 ? (i == 11 ? NAN : static_cast<float>(i)) : 100;
  maps.add({0, {20, 470, 10, 10}, Split::train}, targets);
  const TargetMaps::Ground& ground = maps.grounds()[0];
  const size_t cell = 235 * 240 + 10;
  CHECK(ground.counts[cell] == 3);
  CHECK(ground.mean(cell) == Approx(11.0 / 3));  // of 0, 1 and 10
  CHECK(ground.mean(cell + 1) == 100);
  CHECK(std::isnan(ground.mean(cell + 5)));
  maps.add({1, {20, 470, 10, 10}, Split::test}, targets);  // another date adds nothing new
  CHECK(ground.counts[cell] == 6);
  CHECK(ground.mean(cell) == Approx(11.0 / 3));
  maps.add({2, {0, 0, 10, 10}, Split::train}, targets);
  CHECK(std::isnan(ground.mean(0)));
  CHECK_FALSE(std::isnan(maps.grounds()[1].mean(0)));

  // One of the 25 cells of each ground is lower than the others.
  const auto [low, high] = maps.range();
  CHECK(low == Approx(11.0 / 3));
  CHECK(high == 100);
  const Tensor picture = maps.picture();
  CHECK(pixels_of(picture, ramp_color(1)) > 24 * 4);  // the cells of 100
  CHECK(pixels_of(picture, {205, 205, 205}) > 240 * 240 * 3);
}

}  // namespace
}  // namespace unetd::io
