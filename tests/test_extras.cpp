// Rasters that become channels of a scene: brought onto its grid as GDAL's own program would.
#include "engine/base/error.h"
#include "io/scene.h"
#include "tests/support/rasters.h"
#include "tests/support/temp_folder.h"

#include <cmath>
#include <string>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

double some_value(int64_t band, int64_t y, int64_t x) {
  return static_cast<double>(500 + 1000 * band + 7 * y + x);
}

TEST_CASE("extras: a terrain model on the scene's grid equals the reference warps",
          "[io][extras]") {
  const auto data = real_data();
  if (!data) return;
  const TempFolder folder;
  const fs::path dem = *data / "dem" / "Copernicus_DSM_COG_10_N00_00_E006_00_DEM.tif";
  const std::pair<const char*, Resampling> methods[] = {{"near", Resampling::nearest},
                                                        {"bilinear", Resampling::bilinear},
                                                        {"cubic", Resampling::cubic}};
  for (const auto& [name, method] : methods) {
    CAPTURE(name);
    const Scene reference =
        Scene::open(*data / "dem" / (std::string("ref_gdalwarp_utm32n_60m_") + name + ".tif"));
    const Grid& grid = reference.grid();
    write_raster<uint16_t>(folder / "s.tif", grid, {{"B02"}, {"B03"}}, some_value);
    SceneOptions options;
    options.extras = {{"DEM", dem, method}};
    const Scene scene = Scene::open(folder / "s.tif", options);
    REQUIRE(scene.bands().size() == 3);
    CHECK(scene.bands()[2].name == "DEM");
    CHECK(scene.dtype() == DType::f32);

    const Raster wanted = reference.read(grid.whole());
    int64_t compared = 0, invalid = 0;
    // In two parts, so that a seam would show.
    for (const Window part :
         {Window{0, 0, grid.width, 333}, Window{0, 333, grid.width, grid.height - 333}}) {
      const Raster raster = scene.read(part);
      const auto image = raster.image.span<float>();
      const auto valid = raster.valid.span<uint8_t>();
      for (int64_t i = 0; i < part.width * part.height; ++i) {
        const auto at = static_cast<size_t>(i);
        invalid += valid[at] == 0 ? 1 : 0;
        if (valid[at] == 0) continue;
        const int64_t pixel = part.y * grid.width + i;
        REQUIRE(image[3 * at + 2] == wanted.image.span<float>()[static_cast<size_t>(pixel)]);
        REQUIRE(image[3 * at] ==
                static_cast<float>(some_value(0, pixel / grid.width, pixel % grid.width)));
        ++compared;
      }
    }
    CHECK(compared > 400'000);
    CHECK(invalid == 0);
  }
}

TEST_CASE("extras: what a raster does not cover has no data", "[io][extras]") {
  const TempFolder folder;
  write_raster<uint16_t>(folder / "s.tif", test_grid(60, 40), {{"B02"}}, some_value);
  Grid half = test_grid(60, 40);
  half.width = 30;
  write_raster<float>(folder / "dem.tif", half, {{"z"}},
                      [](int64_t, int64_t y, int64_t x) { return 10.F * y + x; });
  SceneOptions options;
  options.extras = {{"DEM", folder / "dem.tif", Resampling::nearest}};
  options.bands = {"B02", "DEM"};
  const Raster raster = Scene::open(folder / "s.tif", options).read({0, 0, 60, 40});
  const auto valid = raster.valid.span<uint8_t>();
  const auto image = raster.image.span<float>();
  for (int64_t i = 0; i < 2400; ++i) {
    const auto at = static_cast<size_t>(i);
    CHECK(valid[at] == (i % 60 < 30 ? 1 : 0));
    if (valid[at] != 0) CHECK(image[2 * at + 1] == 10.F * (i / 60) + i % 60);
  }
}

TEST_CASE("extras: one for each of many scenes, by its folder and its name", "[io][extras]") {
  const TempFolder folder;
  const Grid grid = test_grid(20, 20);
  for (const int place : {1, 2}) {
    const fs::path own = folder / ("place" + std::to_string(place));
    fs::create_directories(own / "snow");
    for (const char* date : {"june", "july"}) {
      write_raster<uint16_t>(own / (std::string(date) + ".tif"), grid, {{"B02"}}, some_value);
      const double depth = place * 10 + (date[2] == 'n' ? 6 : 7);
      write_raster<float>(own / "snow" / (std::string(date) + "_depth.tif"), grid, {{"depth"}},
                          [&](int64_t, int64_t, int64_t) { return depth; });
    }
  }
  SceneOptions options;
  options.extras = {{"depth", "{folder}/snow/{scene}_depth.tif", Resampling::nearest}};
  const auto depth_of = [&](const char* scene) {
    return Scene::open(folder / scene, options).read({3, 3, 1, 1}).image.span<float>()[1];
  };
  CHECK(depth_of("place1/june.tif") == 16);
  CHECK(depth_of("place1/july.tif") == 17);
  CHECK(depth_of("place2/june.tif") == 26);
  CHECK(depth_of("place2/july.tif") == 27);
  CHECK(depth_of("place1/../place2/july.tif") == 27);

  fs::remove(folder / "place2/snow/july_depth.tif");
  CHECK_THROWS_WITH(depth_of("place2/july.tif"), Contains("place2/snow/july_depth.tif"));
}

TEST_CASE("extras: what cannot be a channel is refused", "[io][extras]") {
  const TempFolder folder;
  write_raster<uint16_t>(folder / "s.tif", test_grid(20, 20), {{"B02"}, {"B03"}}, some_value);
  Grid nowhere = test_grid(20, 20);
  nowhere.geotransform.reset();
  nowhere.crs.clear();
  write_raster<float>(folder / "plain.tif", nowhere, {{"z"}}, some_value);
  const auto open = [&](const std::string& scene, const ExtraRaster& extra,
                        std::vector<std::string> bands = {}) {
    SceneOptions options;
    options.extras = {extra};
    options.bands = std::move(bands);
    Scene::open(folder / scene, options);
  };
  CHECK_THROWS_WITH(open("s.tif", {"DEM", folder / "plain.tif"}), Contains("no coordinate system"));
  CHECK_THROWS_WITH(open("plain.tif", {"DEM", folder / "s.tif"}), Contains("the scene lacks"));
  CHECK_THROWS_WITH(open("s.tif", {"DEM", folder / "s.tif"}), Contains("has 2 bands"));
  CHECK_THROWS_WITH(open("s.tif", {"DEM", folder / "none.tif"}), Contains("none.tif"));
  CHECK_THROWS_WITH(open("s.tif", {"B2", folder / "plain.tif"}), Contains("band 'B02' already"));
  CHECK_THROWS_WITH(open("s.tif", {"DEM", folder / "plain.tif"}, {"DEM", "B02"}),
                    Contains("come after"));
}

}  // namespace
}  // namespace unetd::io
