// Scenes and labels: what is read is what the file holds, and what is wrong with a file is said.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/tensor/mirror.h"
#include "io/gdal.h"
#include "io/labels.h"
#include "io/scene.h"
#include "tests/support/rasters.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

double ramp(int64_t band, int64_t y, int64_t x) {
  return static_cast<double>(1000 * band + 20 * y + x + 1);
}

// The message of the UserError that `action` must throw: one line.
template <class F>
std::string refusal(F&& action) {
  try {
    action();
  } catch (const UserError& e) {
    std::string text = e.what();
    CHECK(text.find('\n') == std::string::npos);
    return text;
  }
  FAIL("nothing was thrown");
  return "";
}

// GDAL's band checksum (GDALChecksumImage) over interleaved samples.
int checksum(const std::vector<double>& samples, size_t band, size_t bands) {
  constexpr std::array<int64_t, 11> primes = {7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43};
  int64_t sum = 0;
  for (size_t i = 0; i * bands + band < samples.size(); ++i) {
    const double v = samples[i * bands + band];
    const int64_t value =
        std::isfinite(v)
            ? static_cast<int64_t>(std::floor(std::clamp(v + 0.5, -2147483647.0, 2147483647.0)))
            : std::numeric_limits<int32_t>::min();
    sum = (sum + value % primes[i % primes.size()]) & 0xFFFF;
  }
  return static_cast<int>(sum);
}

TEST_CASE("scene: a stack gives its bands by name, in the order asked for", "[io]") {
  const TempFolder folder;
  const Grid grid = test_grid(70, 41);
  write_raster<uint16_t>(folder / "s.tif", grid, {{"B02"}, {"B03"}, {"B8A"}}, ramp);
  const Scene all = Scene::open(folder / "s.tif");
  CHECK(all.bands().size() == 3);
  CHECK(all.bands()[2].name == "B8A");
  CHECK(all.dtype() == DType::u16);
  CHECK(same_grid(all.grid(), grid));

  SceneOptions options;
  options.bands = {"b8a", "B2"};  // B2 and B02 are one name
  const Scene scene = Scene::open(folder / "s.tif", options);
  const Raster raster = scene.read({5, 7, 33, 20});
  CHECK(raster.image.shape() == Shape{1, 20, 33, 2});
  const auto image = raster.image.span<uint16_t>();
  for (int64_t i = 0; i < 660; ++i) {
    CHECK(image[2 * i] == ramp(2, 7 + i / 33, 5 + i % 33));
    CHECK(image[2 * i + 1] == ramp(0, 7 + i / 33, 5 + i % 33));
  }
  const auto valid = raster.valid.span<uint8_t>();
  CHECK(std::accumulate(valid.begin(), valid.end(), 0) == 660);
}

TEST_CASE("scene: a wrong band name lists those there are", "[io]") {
  const TempFolder folder;
  write_raster<uint8_t>(folder / "named.tif", test_grid(4, 4), {{"B02"}, {"B03"}}, ramp);
  write_raster<uint8_t>(folder / "plain.tif", test_grid(4, 4), {{""}, {""}}, ramp);
  SceneOptions options;
  options.bands = {"B11"};
  CHECK_THAT(refusal([&] { Scene::open(folder / "named.tif", options); }),
             Contains("'B11'") && Contains("B02, B03") && Contains("named.tif"));
  // By position there is no B02: the second band may be anything.
  options.bands = {"B02"};
  CHECK_THAT(refusal([&] { Scene::open(folder / "plain.tif", options); }),
             Contains("B1, B2") && Contains("by position"));
  options.bands = {"B2"};
  CHECK(Scene::open(folder / "plain.tif", options).bands()[0].name == "B2");
  options.bands = {"B2", "B02"};
  CHECK_THAT(refusal([&] { Scene::open(folder / "named.tif", options); }), Contains("twice"));
  CHECK_THAT(refusal([&] { Scene::open(folder / "absent.tif"); }), Contains("absent.tif"));
  CHECK_THAT(refusal([&] { Scene::open(folder.path()); }), Contains("no band file"));
}

TEST_CASE("scene: pixels without data are invalid in all bands", "[io]") {
  const TempFolder folder;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  write_raster<float>(folder / "f.tif", test_grid(6, 1),
                      {{"a", 1, 0, -9999.0}, {"b", 1, 0, -9999.0}},
                      [&](int64_t b, int64_t, int64_t x) {
                        const std::array<std::array<double, 6>, 2> v = {
                            {{1, nan, 3, 4, -9999, 6}, {1, 2, inf, 4, 5, -inf}}};
                        return v[static_cast<size_t>(b)][static_cast<size_t>(x)];
                      });
  const Raster raster = Scene::open(folder / "f.tif").read({0, 0, 6, 1});
  const auto valid = raster.valid.span<uint8_t>();
  CHECK(std::vector<uint8_t>(valid.begin(), valid.end()) == std::vector<uint8_t>{1, 0, 0, 1, 0, 0});

  SceneOptions options;
  options.nodata = 4;  // overrides the file's
  const Raster other = Scene::open(folder / "f.tif", options).read({0, 0, 6, 1});
  const auto v = other.valid.span<uint8_t>();
  CHECK(std::vector<uint8_t>(v.begin(), v.end()) == std::vector<uint8_t>{1, 0, 0, 0, 1, 0});
}

TEST_CASE("scene: windows outside are refused, or padded when asked for", "[io]") {
  const TempFolder folder;
  write_raster<int16_t>(folder / "s.tif", test_grid(9, 8), {{"x"}, {"y"}}, ramp);
  const Scene scene = Scene::open(folder / "s.tif");
  CHECK_THAT(refusal([&] { scene.read({5, 0, 5, 5}); }), Contains("9x8"));
  const Raster raster = scene.read({-2, 5, 5, 6}, Outside::pad);
  const auto image = raster.image.span<int16_t>();
  const auto valid = raster.valid.span<uint8_t>();
  for (int64_t y = 0; y < 6; ++y) {
    for (int64_t x = 0; x < 5; ++x) {
      const bool inside = x >= 2 && y < 3;
      CHECK(valid[y * 5 + x] == (inside ? 1 : 0));
      CHECK(image[(y * 5 + x) * 2 + 1] == (inside ? ramp(1, y + 5, x - 2) : 0));
    }
  }
  const Raster nothing = scene.read({100, 100, 4, 4}, Outside::pad);
  CHECK(nothing.valid.span<uint8_t>()[0] == 0);
}

TEST_CASE("scene: windows outside show the scene mirrored when asked for", "[io]") {
  const TempFolder folder;
  const auto hole = [](int64_t band, int64_t y, int64_t x) {
    return x == 2 && y == 1 ? -1.0 : ramp(band, y, x);
  };
  const std::vector<GeoTiffBand> bands(2, GeoTiffBand{.name = "b", .nodata = -1});
  write_raster<int16_t>(folder / "s.tif", test_grid(5, 4), bands, hole);
  const Scene scene = Scene::open(folder / "s.tif");
  // One side only, both sides, a corner far out, and a window that is further away than it is wide.
  for (const Window window :
       {Window{-3, 1, 4, 2}, Window{-2, -9, 9, 30}, Window{4, 3, 6, 7}, Window{20, -40, 2, 3}}) {
    const Raster raster = scene.read(window, Outside::mirror);
    const std::vector<int64_t> rows = mirrored_line(window.y, window.height, 4);
    const std::vector<int64_t> columns = mirrored_line(window.x, window.width, 5);
    size_t i = 0;
    for (const int64_t y : rows) {
      for (const int64_t x : columns) {
        const bool data = x != 2 || y != 1;
        CHECK(raster.valid.span<uint8_t>()[i] == (data ? 1 : 0));
        if (data) CHECK(raster.image.span<int16_t>()[2 * i + 1] == ramp(1, y, x));
        ++i;
      }
    }
  }
  CHECK(scene.read({1, 1, 3, 2}, Outside::mirror).valid.span<uint8_t>()[1] == 0);
}

TEST_CASE("a line is mirrored without its last pixel, as often as it takes", "[io]") {
  CHECK(mirrored_line(-5, 12, 4) == std::vector<int64_t>{1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0});
  CHECK(mirrored_line(-2, 5, 1) == std::vector<int64_t>(5, 0));
  CHECK(mirrored_line(1, 2, 4) == std::vector<int64_t>{1, 2});
}

TEST_CASE("scene: scale and offset come from the file or from the caller", "[io]") {
  const TempFolder folder;
  write_raster<uint16_t>(folder / "s.tif", test_grid(4, 4), {{"B02", 1e-4, -0.1, 0.0}}, ramp);
  const Scene scene = Scene::open(folder / "s.tif");
  CHECK(scene.bands()[0].scale == Approx(1e-4));
  CHECK(scene.bands()[0].offset == Approx(-0.1));
  CHECK(scene.bands()[0].nodata == 0.0);
  SceneOptions options;
  options.offset = -1000;
  const Scene other = Scene::open(folder / "s.tif", options);
  CHECK(other.bands()[0].scale == 1);
  CHECK(other.bands()[0].offset == -1000);
}

TEST_CASE("scene: a folder of band files is one scene on the finest grid", "[io]") {
  const TempFolder folder;
  // Functions that are linear in map coordinates: bilinear interpolation must reproduce them.
  const auto plane = [](double pixel) {
    return [pixel](int64_t, int64_t y, int64_t x) {
      return 100 + 6 * pixel / 10 * (static_cast<double>(x) + 0.5) +
             12 * pixel / 10 * (static_cast<double>(y) + 0.5);
    };
  };
  write_raster<uint16_t>(folder / "T29_B02_10m.tif", test_grid(72, 72), {{""}}, plane(10));
  write_raster<uint16_t>(folder / "T29_B11_20m.tif", test_grid(36, 36, 20), {{""}}, plane(20));
  write_raster<uint16_t>(folder / "T29_B01_60m.tif", test_grid(12, 12, 60), {{""}}, plane(60));
  write_raster<uint16_t>(folder / "T29_B02_20m.tif", test_grid(36, 36, 20), {{""}}, plane(0));
  write_raster<uint8_t>(folder / "cloud_mask.tif", test_grid(72, 72), {{""}}, plane(10));
  for (const Resampling method : {Resampling::bilinear, Resampling::cubic}) {
    SceneOptions options;
    options.resampling = method;
    const Scene scene = Scene::open(folder.path(), options);
    CHECK(same_grid(scene.grid(), test_grid(72, 72)));
    REQUIRE(scene.bands().size() == 3);
    CHECK(scene.bands()[0].name == "B01");
    CHECK(scene.bands()[1].name == "B02");
    CHECK(scene.bands()[2].name == "B11");
    const Raster whole = scene.read({0, 0, 72, 72});
    const auto image = whole.image.span<uint16_t>();
    // Away from the border, where there is nothing to interpolate with.
    for (int64_t y = 15; y < 57; ++y) {
      for (int64_t x = 15; x < 57; ++x) {
        const double exact = plane(10)(0, y, x);
        for (int64_t b = 0; b < 3; ++b)
          CHECK(std::abs(image[(y * 72 + x) * 3 + b] - exact) <= 1.01);
      }
    }
    // A window holds the same numbers as the whole.
    const Raster part = scene.read({7, 5, 11, 6});
    for (int64_t i = 0; i < 198; ++i)
      CHECK(part.image.span<uint16_t>()[i] ==
            image[((i / 33 + 5) * 72 + i % 33 / 3 + 7) * 3 + i % 3]);
  }
  SceneOptions nearest;
  nearest.resampling = Resampling::nearest;
  nearest.bands = {"B01", "B02"};
  const Raster raster = Scene::open(folder.path(), nearest).read({0, 0, 72, 72});
  CHECK(raster.image.span<uint16_t>()[1034] == static_cast<uint16_t>(plane(60)(0, 1, 2)));
}

TEST_CASE("scene: holes in a coarse band neither spread nor bleed", "[io]") {
  const TempFolder folder;
  write_raster<uint16_t>(folder / "B02.tif", test_grid(8, 8), {{""}},
                         [](int64_t, int64_t, int64_t) { return 7; });
  write_raster<uint16_t>(folder / "B05.tif", test_grid(4, 4, 20), {{"", 1, 0, 0.0}},
                         [](int64_t, int64_t y, int64_t x) { return y == 1 && x == 2 ? 0 : 500; });
  const Raster raster = Scene::open(folder.path()).read({0, 0, 8, 8});
  for (int64_t i = 0; i < 64; ++i) {
    const bool hole = i / 8 / 2 == 1 && i % 8 / 2 == 2;
    CHECK(raster.valid.span<uint8_t>()[i] == (hole ? 0 : 1));
    if (!hole) CHECK(raster.image.span<uint16_t>()[2 * i + 1] == 500);
  }
}

TEST_CASE("scene: which pixels are valid is known without their samples", "[io]") {
  const TempFolder folder;
  const auto holes = [](int64_t step) {
    return [step](int64_t, int64_t y, int64_t x) { return (5 * y + 3 * x) % step == 0 ? 0 : 9; };
  };
  write_raster<uint16_t>(folder / "B02_10m.tif", test_grid(72, 60), {{"", 1, 0, 0.0}}, holes(397));
  write_raster<uint16_t>(folder / "B11_20m.tif", test_grid(36, 30, 20), {{"", 1, 0, 0.0}},
                         holes(131));
  write_raster<float>(folder / "B01_60m.tif", test_grid(12, 10, 60), {{""}},
                      [](int64_t, int64_t y, int64_t x) { return y == x ? NAN : 2; });
  for (const int resolution : {10, 20, 60})
    for (const Resampling method : {Resampling::nearest, Resampling::bilinear, Resampling::cubic}) {
      SceneOptions options;
      options.resampling = method;
      options.resolution = resolution;
      options.extras = {{"DEM", folder / "B01_60m.tif", Resampling::nearest}};
      const Scene scene = Scene::open(folder.path(), options);
      const Window whole = scene.grid().whole(), part{3, 1, whole.width - 5, whole.height - 2};
      for (const Window& window : {whole, part}) {
        const Tensor valid = scene.read_valid(window), expected = scene.read(window).valid;
        CHECK(std::ranges::equal(valid.span<uint8_t>(), expected.span<uint8_t>()));
        CHECK(std::ranges::count(valid.span<uint8_t>(), 0) > 5);
        CHECK(std::ranges::count(valid.span<uint8_t>(), 1) > 5);
      }
      CHECK_THROWS_AS(scene.read_valid({1, 0, whole.width, 1}), UserError);
    }
}

TEST_CASE("scene: band files that do not fit one another are refused with the remedy", "[io]") {
  const TempFolder folder;
  write_raster<uint16_t>(folder / "B02.tif", test_grid(8, 8), {{""}}, ramp);
  write_raster<uint16_t>(folder / "B05.tif", test_grid(4, 4, 20, 500010), {{""}}, ramp);
  CHECK_THAT(refusal([&] { Scene::open(folder.path()); }),
             Contains("B05.tif") && Contains("origin") && Contains("gdalwarp"));
  write_raster<uint16_t>(folder / "B05.tif", test_grid(3, 4, 20), {{""}}, ramp);
  CHECK_THAT(refusal([&] { Scene::open(folder.path()); }), Contains("size"));
  write_raster<uint16_t>(folder / "B05.tif", test_grid(8, 8), {{""}, {""}}, ramp);
  CHECK_THAT(refusal([&] { Scene::open(folder.path()); }), Contains("has 2 bands"));
}

TEST_CASE("scene: virtual bands of one file are read at the same time", "[io]") {
  const TempFolder folder;
  const Grid grid = test_grid(300, 200);
  write_raster<uint16_t>(folder / "stack.tif", grid, {{"B02"}, {"B03"}, {"B04"}, {"B08"}}, ramp);
  fs::create_directory(folder / "bands");
  for (int band = 1; band <= 4; ++band)
    write_file(folder / str("bands/B0", band == 4 ? 8 : band + 1, ".vrt"),
               str("<VRTDataset rasterXSize=\"300\" rasterYSize=\"200\">"
                   "<VRTRasterBand dataType=\"UInt16\" band=\"1\"><SimpleSource>"
                   "<SourceFilename relativeToVRT=\"1\">../stack.tif</SourceFilename><SourceBand>",
                   band, "</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"));
  const Raster stack = Scene::open(folder / "stack.tif").read(grid.whole());
  for (int i = 0; i < 20; ++i) {
    const Raster raster = Scene::open(folder / "bands").read(grid.whole());
    REQUIRE(std::ranges::equal(raster.image.span<uint16_t>(), stack.image.span<uint16_t>()));
  }
}

TEST_CASE("scene: a truncated file fails when its pixels are read", "[io]") {
  const TempFolder folder;
  const fs::path path = folder / "cut.tif";
  write_raster<uint16_t>(path, test_grid(600, 600), {{"B02"}}, [](int64_t, int64_t y, int64_t x) {
    return (x * 7919 + y * 104729) % 9973;
  });
  const uintmax_t size = fs::file_size(path);
  for (const uintmax_t part : {4, 3, 2}) {
    fs::resize_file(path, size - size / part);
    CHECK_THAT(refusal([&] {
                 const Scene scene = Scene::open(path);
                 scene.read(scene.grid().whole());
               }),
               Contains("cut.tif"));
  }
}

TEST_CASE("labels: raw values become classes, the rest 255", "[io]") {
  const TempFolder folder;
  const Grid grid = test_grid(5, 1);
  write_raster<int16_t>(folder / "l.tif", grid, {{"", 1, 0, -1.0}},
                        [](int64_t, int64_t, int64_t x) {
                          return std::array<int, 5>{10, 20, -1, 99, 10}[static_cast<size_t>(x)];
                        });
  const ClassMap map{{{10, "land"}, {20, "water", "#0000ff"}}, {99}};
  check(map);
  const Tensor labels = read_labels(folder / "l.tif", grid, map);
  const auto l = labels.span<uint8_t>();
  CHECK(std::vector<uint8_t>(l.begin(), l.end()) == std::vector<uint8_t>{0, 1, 255, 255, 0});
  CHECK_THAT(refusal([&] {
               read_labels(folder / "l.tif", grid, {{{20, "water"}}, {}});
             }),
             Contains("l.tif") && Contains("10 (2 pixels)") && Contains("99 (1 pixels)"));
}

TEST_CASE("labels: another grid is refused, and the way there is told", "[io]") {
  const TempFolder folder;
  const ClassMap map{{{1, "a"}, {2, "b"}}, {}};
  const auto one = [](int64_t, int64_t, int64_t) { return 1; };
  const Grid scene = test_grid(20, 10);
  const auto message = [&](const Grid& grid) {
    write_raster<uint8_t>(folder / "l.tif", grid, {{""}}, one);
    return refusal([&] { read_labels(folder / "l.tif", scene, map); });
  };
  CHECK_THAT(message(test_grid(20, 11)),
             Contains("20x11, not 20x10") && Contains("gdalwarp -r near"));
  CHECK_THAT(message(test_grid(20, 10, 10, 500005)), Contains("origin"));
  CHECK_THAT(message(test_grid(20, 10, 20)), Contains("pixel size"));
  Grid zone30 = scene;
  zone30.crs = "EPSG:32630";
  CHECK_THAT(message(zone30), Contains("EPSG:32630, not EPSG:32629") &&
                                  Contains("-t_srs EPSG:32629 -te 500000 5899940 500200 5900040"));
  // Without georeferencing there are only sizes to compare.
  Grid plain;
  plain.width = 20;
  plain.height = 10;
  write_raster<uint8_t>(folder / "l.tif", plain, {{""}}, one);
  CHECK(read_labels(folder / "l.tif", scene, map).span<uint8_t>()[0] == 0);
}

TEST_CASE("labels: class lists that contradict themselves are refused", "[io]") {
  CHECK_THROWS_AS(check(ClassMap{}), UsageError);
  CHECK_THROWS_AS(check(ClassMap{{{1, "a"}, {1, "b"}}, {}}), UsageError);
  CHECK_THROWS_AS(check(ClassMap{{{1, "a"}, {2, "a"}}, {}}), UsageError);
  CHECK_THROWS_AS(check(ClassMap{{{1, "a"}}, {1}}), UsageError);
  CHECK_THROWS_AS(check(ClassMap{{{1, "a", "red"}}, {}}), UsageError);
}

// name -> GDAL's checksums as the manifest has them; -1 means that reading fails, none that opening
// does.
std::vector<std::pair<std::string, std::vector<int>>> manifest(const fs::path& folder) {
  std::vector<std::pair<std::string, std::vector<int>>> cases;
  std::ifstream in(folder / "manifest.tsv");
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    std::istringstream cells(line);
    std::vector<std::string> row;
    for (std::string cell; std::getline(cells, cell, '\t');) row.push_back(cell);
    std::vector<int> sums;
    std::string list = row.at(5);
    std::replace_if(
        list.begin(), list.end(), [](char c) { return c == '[' || c == ']' || c == ','; }, ' ');
    std::istringstream numbers(list);
    for (int sum = 0; numbers >> sum;) sums.push_back(sum);
    cases.emplace_back(row.at(0), sums);
  }
  return cases;
}

TEST_CASE("scene: odd and damaged TIFFs are read right or refused in one line", "[io][data]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path folder = *data / "geotiff-edge-cases";
  const auto cases = manifest(folder);
  CHECK(cases.size() > 70);
  for (const auto& [name, sums] : cases) {
    INFO(name);
    const fs::path path = folder / name;
    if (sums.empty() || sums.front() == -1) {
      CHECK_THAT(refusal([&] {
                   const Scene scene = Scene::open(path);
                   scene.read(scene.grid().whole());
                 }),
                 Contains(path.filename().string()) && Contains("("));
      continue;
    }
    const Dataset file = Dataset::open(path);
    REQUIRE(file.bands().size() == sums.size());
    if (file.bands()[0].complex) {
      CHECK_THAT(refusal([&] { Scene::open(path); }), Contains("complex"));
      continue;
    }
    std::vector<int> bands(sums.size());
    std::iota(bands.begin(), bands.end(), 0);
    const Window whole = file.grid().whole();
    std::vector<double> samples(static_cast<size_t>(whole.width * whole.height) * bands.size());
    file.read(whole, bands, DType::f64, samples.data());
    for (size_t b = 0; b < sums.size(); ++b) CHECK(checksum(samples, b, bands.size()) == sums[b]);
    const Raster raster = Scene::open(path).read(whole);
    CHECK(raster.valid.shape() == Shape{1, whole.height, whole.width, 1});
  }
}

TEST_CASE("scene: masks, nodata and alpha of real files", "[io][data]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path folder = *data / "geotiff-edge-cases";
  const auto valid_pixels = [&](const char* name) {
    const Scene scene = Scene::open(folder / name);
    const Raster raster = scene.read(scene.grid().whole());
    const auto valid = raster.valid.span<uint8_t>();
    return std::accumulate(valid.begin(), valid.end(), int64_t{0});
  };
  CHECK(valid_pixels("rasterio/all-nodata.tif") == 0);
  // The same picture, once with nodata and once with a mask file: almost the same holes.
  const int64_t by_nodata = valid_pixels("rasterio/RGB.byte.tif");
  const int64_t by_mask = valid_pixels("rasterio/RGB2.byte.tif");
  CHECK(by_nodata > 300000);
  CHECK(by_nodata < 567938);
  CHECK(by_mask > 300000);
  CHECK(by_mask < 567938);
  const Scene alpha = Scene::open(folder / "rasterio/alpha.tif");
  CHECK(alpha.bands().size() == 3);
  CHECK(valid_pixels("gdal-gcore/nan32_nodata.tif") == valid_pixels("gdal-gcore/nan32.tif"));
  // Rotated and control-point-only files are pixels like others; their georeferencing is kept.
  CHECK((*Scene::open(folder / "rasterio/rotated.tif").grid().geotransform)[2] != 0);
  const Grid points = Scene::open(folder / "gdal-gcore/byte_gcp.tif").grid();
  CHECK_FALSE(points.georeferenced());
  CHECK(points.control_points.size() == 2);
}

TEST_CASE("scene: native band files repeated to 10 m equal the stack made from them",
          "[io][data]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path folder = *data / "majortom-l2a-scenes/199U_1099R_T48QUE_20200223";
  SceneOptions options;
  options.resampling = Resampling::nearest;
  const Scene files = Scene::open(folder, options);
  options.bands = {"B01", "B02", "B03", "B04", "B05", "B06",
                   "B07", "B08", "B8A", "B09", "B11", "B12"};
  CHECK(files.bands().size() == 12);
  fs::path stack;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("stack_12b")) stack = entry.path();
  const Scene whole = Scene::open(stack);
  const Window window{301, 407, 260, 190};
  const Raster a = files.read(window), b = whole.read(window);
  CHECK(std::ranges::equal(a.image.span<uint16_t>(), b.image.span<uint16_t>()));
}

TEST_CASE("labels: a real mask of another size is refused", "[io][data]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path folder = *data / "amazon-forest-rgb/edge_mask_size_mismatch";
  const Scene scene = Scene::open(folder / "Amazon_181_34_image.tif");
  CHECK_THAT(
      refusal([&] {
        read_labels(folder / "Amazon_181_34_mask_512x515.tif", scene.grid(),
                    {{{1, "forest"}, {2, "other"}}, {}});
      }),
      Contains("515x512, not 512x512") && Contains("gdal_translate -r nearest -outsize 512 512"));
}

}  // namespace
}  // namespace unetd::io
