// Maps of values: numbers in their unit as a GeoTIFF, and a picture of them by the colour ramp.
#include "engine/base/error.h"
#include "io/gdal.h"
#include "io/gdal_map_writer.h"
#include "io/gdal_quicklook.h"
#include "io/ramp.h"
#include "tests/support/rasters.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

MapOptions value_options() {
  MapOptions o;
  o.emit = Emit::values;
  o.classes = {{"canopy height"}};
  o.outputs = 1;
  o.unit = "m";
  return o;
}

// value(y, x) where valid(y, x).
template <class F, class V>
void write_values(const fs::path& path, const Grid& grid, F&& value, V&& is_valid,
                  const MapOptions& options = value_options()) {
  Tensor values({1, grid.height, grid.width, 1}, DType::f32), valid(values.shape(), DType::u8);
  for (int64_t i = 0; i < grid.width * grid.height; ++i) {
    values.span<float>()[i] = static_cast<float>(value(i / grid.width, i % grid.width));
    valid.span<uint8_t>()[i] = is_valid(i / grid.width, i % grid.width) ? 1 : 0;
  }
  MapWriter writer(path, grid, options);
  writer.write(grid.whole(), values, valid);
  writer.finish();
}

std::array<uint8_t, 4> pixel(const Tensor& picture, int64_t y, int64_t x) {
  std::array<uint8_t, 4> rgba{};
  std::memcpy(rgba.data(), picture.span<uint8_t>().data() + 4 * (y * picture.shape().w + x), 4);
  return rgba;
}

std::array<uint8_t, 4> opaque(std::array<uint8_t, 3> c) { return {c[0], c[1], c[2], 255}; }
constexpr std::array<uint8_t, 4> transparent = {0, 0, 0, 0};

TEST_CASE("value map: numbers, nodata, name, unit and place", "[io][targets]") {
  const TempFolder folder;
  const Grid grid = test_grid(300, 170);
  const auto value = [](int64_t y, int64_t x) {
    return std::sin(static_cast<double>(x)) * 1000 - static_cast<double>(y) / 3;
  };
  const auto valid = [](int64_t y, int64_t x) { return (y + x) % 7 != 0; };
  write_values(folder / "map.tif", grid, value, valid);
  const Dataset map = Dataset::open(folder / "map.tif");
  REQUIRE(map.bands().size() == 1);
  CHECK(map.bands()[0].type == "Float32");
  CHECK(map.bands()[0].description == "canopy height");
  CHECK(map.bands()[0].scale == 1);
  REQUIRE(map.bands()[0].nodata);
  CHECK(std::isnan(*map.bands()[0].nodata));
  CHECK(map.grid().geotransform == grid.geotransform);
  std::vector<float> pixels(300 * 170);
  const int band = 0;
  map.read(grid.whole(), {&band, 1}, DType::f32, pixels.data());
  int64_t wrong = 0;
  for (int64_t i = 0; i < std::ssize(pixels); ++i) {
    const float got = pixels[static_cast<size_t>(i)];
    const bool right = valid(i / 300, i % 300) ? got == static_cast<float>(value(i / 300, i % 300))
                                               : std::isnan(got);
    wrong += right ? 0 : 1;
  }
  CHECK(wrong == 0);
  const MapInfo info = map_info(folder / "map.tif");
  CHECK(info.description == "canopy height");
  CHECK(info.unit == "m");
  CHECK(info.cloud_optimised);
  CHECK(info.compression == "DEFLATE");
  CHECK(info.classes.empty());
  CHECK_FALSE(fs::exists(folder / "map.tif.aux.xml"));  // the file says it all

  MapOptions plain = value_options();
  plain.unit.clear();
  write_values(folder / "plain.tif", grid, value, valid, plain);
  CHECK(map_info(folder / "plain.tif").unit.empty());
}

TEST_CASE("value map: what is no map of values is refused", "[io][targets]") {
  const TempFolder folder;
  CHECK(parse_emit("values") == Emit::values);
  MapOptions o = value_options();
  o.outputs = 2;
  o.classes = {{"a"}, {"b"}};
  CHECK_THROWS_AS(MapWriter(folder / "map.tif", test_grid(30, 20), o), Error);
  o.emit = Emit::logits;  // has no unit
  CHECK_THROWS_AS(MapWriter(folder / "map.tif", test_grid(30, 20), o), Error);
  const auto nothing = [](int64_t, int64_t) { return NAN; };
  CHECK_THROWS_AS(write_values(folder / "map.tif", test_grid(30, 20), nothing,
                               [](int64_t, int64_t) { return true; }),
                  Error);
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("value picture: the ramp between two numbers, nothing without data", "[io][targets]") {
  const TempFolder folder;
  // 40 columns from -5 to 34; a row of nodata.
  write_values(
      folder / "map.tif", test_grid(40, 10),
      [](int64_t, int64_t x) { return static_cast<double>(x - 5); },
      [](int64_t y, int64_t) { return y != 4; });
  const Tensor picture = value_picture(folder / "map.tif", 0, 20, 1000);
  REQUIRE(picture.shape() == Shape{1, 10, 40, 4});
  for (int64_t y = 0; y < 10; ++y)
    for (int64_t x = 0; x < 40; ++x) {
      const double share = static_cast<double>(x - 5) / 20;
      REQUIRE(pixel(picture, y, x) == (y == 4 ? transparent : opaque(ramp_color(share))));
    }
  CHECK_THROWS_AS(value_picture(folder / "map.tif", 3, 3, 100), Error);
}

TEST_CASE("value picture: a cell is the mean of its pixels with data", "[io][targets]") {
  const TempFolder folder;
  // Cells of 4x4: all but one pixel of each without data, then some, then none with data.
  const auto value = [](int64_t y, int64_t x) { return y % 4 == 1 && x % 4 == 2 ? 8 : 4; };
  const auto valid = [](int64_t y, int64_t x) {
    return x < 16 ? y % 4 == 1 && x % 4 == 2 : x < 32 || x >= 48;
  };
  write_values(folder / "map.tif", test_grid(64, 32), value, valid);
  const Tensor picture = value_picture(folder / "map.tif", 0, 10, 16);
  REQUIRE(picture.shape() == Shape{1, 8, 16, 4});
  CHECK(pixel(picture, 3, 1) == opaque(ramp_color(0.8)));
  CHECK(pixel(picture, 3, 5) == opaque(ramp_color((15 * 4 + 8) / 160.0)));
  CHECK(pixel(picture, 3, 9) == transparent);
  CHECK(pixel(picture, 3, 14) == opaque(ramp_color((15 * 4 + 8) / 160.0)));
}

TEST_CASE("value picture: of a map with overviews", "[io][targets]") {
  const TempFolder folder;
  const Grid grid = test_grid(1024, 512);
  write_values(
      folder / "map.tif", grid, [](int64_t, int64_t x) { return static_cast<double>(x / 512); },
      [](int64_t y, int64_t) { return y < 256; });
  CHECK(map_info(folder / "map.tif").overviews > 0);
  const Tensor picture = value_picture(folder / "map.tif", -1, 1, 64);
  REQUIRE(picture.shape() == Shape{1, 32, 64, 4});
  CHECK(pixel(picture, 5, 10) == opaque(ramp_color(0.5)));
  CHECK(pixel(picture, 5, 50) == opaque(ramp_color(1)));
  CHECK(pixel(picture, 20, 10) == transparent);
}

TEST_CASE("value picture: what is no map of one band is refused", "[io][targets]") {
  const TempFolder folder;
  write_raster<float>(folder / "two.tif", test_grid(20, 20), {{"a"}, {"b"}},
                      [](int64_t, int64_t y, int64_t x) { return x + y; });
  CHECK_THAT(refusal([&] { value_picture(folder / "two.tif", 0, 1, 10); }),
             Contains("two.tif has 2 bands"));
  CHECK_THAT(refusal([&] { value_picture(folder / "absent.tif", 0, 1, 10); }),
             Contains("absent.tif"));
}

}  // namespace
}  // namespace unetd::io
