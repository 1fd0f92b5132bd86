// Rasters of targets by themselves: scale, offset, masks, what is no target, windows.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/scene.h"
#include "io/targets.h"
#include "tests/support/rasters.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;

Tensor read_targets(const fs::path& path, std::vector<double> ignore = {}) {
  return TargetRaster::open(path, test_grid(30, 10), {"t", "", std::move(ignore)})
      .read({0, 0, 30, 10});
}

TEST_CASE("targets: integers are scaled, and compared before they are", "[io][targets]") {
  const TempFolder folder;
  const auto raw = [](int64_t y, int64_t x) { return 30 * y + x - 100; };
  write_raster<int16_t>(folder / "t.tif", test_grid(30, 10), {{"", 0.25, -3, -100.0}},
                        [&](int64_t, int64_t y, int64_t x) { return raw(y, x); });
  const Tensor all = read_targets(folder / "t.tif"),
               fewer = read_targets(folder / "t.tif", {7, -50, 0.5});
  for (int64_t i = 0; i < 300; ++i) {
    const int64_t value = raw(i / 30, i % 30);
    const float want = static_cast<float>(value) / 4 - 3;  // exact in f32
    if (value == -100)
      CHECK(std::isnan(all.span<float>()[i]));
    else
      REQUIRE(all.span<float>()[i] == want);
    REQUIRE(std::isnan(fewer.span<float>()[i]) == (value == -100 || value == 7 || value == -50));
  }
}

TEST_CASE("targets: numbers stated in decimal are those of f32 rasters", "[io][targets]") {
  const TempFolder folder;
  write_raster<float>(folder / "t.tif", test_grid(30, 10), {{"", 1, 0, -3.4028234663852886e38}},
                      [](int64_t, int64_t, int64_t x) {
                        return x == 0 ? std::numeric_limits<float>::lowest()
                                      : 0.1F * static_cast<float>(x);
                      });
  const Tensor targets = read_targets(folder / "t.tif", {0.7, 2.1});
  for (int64_t x = 0; x < 30; ++x) {
    CAPTURE(x);
    CHECK(std::isnan(targets.span<float>()[x]) == (x == 0 || x == 7 || x == 21));
  }
}

TEST_CASE("targets: a product's calibration beside the band is not the target's", "[io][targets]") {
  const TempFolder folder;
  write_raster<float>(
      folder / "t.tif", test_grid(30, 10), {{""}},
      [](int64_t, int64_t y, int64_t x) { return 0.5 * static_cast<double>(x + y); });
  const std::string command =
      str("gdal_translate -q -mo BOA_QUANTIFICATION_VALUE=10000 ", (folder / "t.tif").string(), " ",
          (folder / "of_product.tif").string());
  if (std::system(command.c_str()) != 0) {
    WARN("skipped: gdal_translate is not installed");
    return;
  }
  CHECK(Scene::open(folder / "of_product.tif").bands()[0].scale == 1e-4);
  const Tensor targets = read_targets(folder / "of_product.tif");
  CHECK(targets.span<float>()[31] == 1);
}

TEST_CASE("targets: pixels that a file's mask leaves out have none", "[io][targets]") {
  const TempFolder folder;
  const auto source = [](const char* file) {
    return str("<SimpleSource><SourceFilename relativeToVRT=\"1\">", file,
               "</SourceFilename><SourceBand>1</SourceBand></SimpleSource>");
  };
  write_raster<float>(folder / "t.tif", test_grid(30, 10), {{""}},
                      [](int64_t, int64_t y, int64_t x) { return x + y; });
  write_raster<uint8_t>(folder / "m.tif", test_grid(30, 10), {{""}},
                        [](int64_t, int64_t, int64_t x) { return x % 3 == 0 ? 0 : 255; });
  write_file(folder / "t.vrt",
             "<VRTDataset rasterXSize=\"30\" rasterYSize=\"10\">"
             "<VRTRasterBand dataType=\"Float32\" band=\"1\">" +
                 source("t.tif") + "</VRTRasterBand><MaskBand><VRTRasterBand dataType=\"Byte\">" +
                 source("m.tif") + "</VRTRasterBand></MaskBand></VRTDataset>");
  const Tensor targets = read_targets(folder / "t.vrt");
  for (int64_t i = 0; i < 300; ++i)
    CHECK(std::isnan(targets.span<float>()[i]) == (i % 30 % 3 == 0));
}

TEST_CASE("targets: a window that leaves the scene is NaN there", "[io][targets]") {
  const TempFolder folder;
  write_raster<uint8_t>(folder / "t.tif", test_grid(30, 10), {{""}},
                        [](int64_t, int64_t y, int64_t x) { return 10 * y + x; });
  const TargetRaster raster = TargetRaster::open(folder / "t.tif", test_grid(30, 10), {"t"});
  const Tensor edge = raster.read({27, -2, 5, 4});
  for (int64_t i = 0; i < 20; ++i) {
    const int64_t y = i / 5 - 2, x = 27 + i % 5;
    if (x < 30 && y >= 0)
      CHECK(edge.span<float>()[i] == static_cast<float>(10 * y + x));
    else
      CHECK(std::isnan(edge.span<float>()[i]));
  }
  const Tensor beyond = raster.read({40, 3, 2, 2});
  CHECK(std::ranges::all_of(beyond.span<float>(), [](float v) { return std::isnan(v); }));
}

}  // namespace
}  // namespace unetd::io
