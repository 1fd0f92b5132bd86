// STAC items: their assets are a scene's bands, by name, with the calibration that the item states.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/scene.h"
#include "tests/support/rasters.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"

#include <functional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;
using nlohmann::ordered_json;

std::string refusal(const fs::path& path, const SceneOptions& options = {}) {
  return unetd::refusal([&] { Scene::open(path, options); });
}

ordered_json item_of(const char* constellation) {
  return {{"type", "Feature"},
          {"stac_version", "1.0.0"},
          {"id", "S2B_29UNU"},
          {"properties", {{"constellation", constellation}}},
          {"assets", ordered_json::object()}};
}

ordered_json asset(const std::string& href) {
  return {{"href", href}, {"type", "image/tiff; application=geotiff"}};
}

// Band files of 10 and 20 m, and a picture of three bands.
class Files {
 public:
  Files() {
    fs::create_directory(folder_ / "img");
    write("blue", test_grid(12, 8), 1);
    write("red", test_grid(12, 8), 2);
    write("swir", test_grid(6, 4, 20), 3);
    write_raster<uint8_t>(folder_ / "img/visual.tif", test_grid(12, 8), std::vector<GeoTiffBand>(3),
                          [](int64_t, int64_t, int64_t) { return 9; });
  }
  fs::path save(const ordered_json& item) const {
    write_file(folder_ / "item.json", item.dump(1));
    return folder_ / "item.json";
  }
  fs::path operator/(const std::string& name) const { return folder_ / name; }

 private:
  void write(const std::string& name, const Grid& grid, int value) const {
    write_raster<uint16_t>(
        folder_ / ("img/" + name + ".tif"), grid, std::vector<GeoTiffBand>(1),
        [&](int64_t, int64_t y, int64_t x) { return 1000 * value + 10 * y + x; });
  }
  TempFolder folder_;
};

TEST_CASE("stac: assets become bands by MSI's names, on the finest grid", "[io][stac]") {
  const Files files;
  ordered_json item = item_of("sentinel-2");
  item["assets"]["swir16"] = asset("./img/swir.tif");
  item["assets"]["red"] = asset("file://" + (files / "img/red.tif").string());
  item["assets"]["red"]["eo:bands"] = {{{"name", "red"}, {"common_name", "red"}}};
  item["assets"]["red"]["raster:bands"] = {{{"nodata", 0}, {"scale", 1e-4}, {"offset", -0.1}}};
  item["assets"]["B02_10m"] = asset((files / "img/blue.tif").string());
  item["assets"]["B02_10m"]["bands"] = {{{"name", "B02"}, {"raster:scale", 2e-4}}};
  item["assets"]["scl"] = asset("img/swir.tif");
  item["assets"]["visual"] = asset("img/visual.tif");
  item["assets"]["visual"]["eo:bands"] = {{{"name", "a"}}, {{"name", "b"}}, {{"name", "c"}}};
  item["assets"]["thumbnail"] = {{"href", "https://x.org/t.jpg"}, {"roles", {"thumbnail"}}};
  const fs::path path = files.save(item);
  SceneOptions nearest;
  nearest.resampling = Resampling::nearest;
  const Scene scene = Scene::open(path, nearest);
  REQUIRE(scene.bands().size() == 3);
  CHECK(scene.bands()[0].name == "B02");
  CHECK(scene.bands()[0].scale == 2e-4);
  CHECK(scene.bands()[0].offset == 0);
  CHECK(scene.bands()[1].name == "B04");
  CHECK(scene.bands()[1].scale == 1e-4);
  CHECK(scene.bands()[1].offset == -0.1);
  CHECK(scene.bands()[1].nodata == 0);
  CHECK(scene.bands()[2].name == "B11");
  CHECK(same_grid(scene.grid(), test_grid(12, 8)));
  const Raster raster = scene.read(scene.grid().whole());
  const auto image = raster.image.span<uint16_t>();
  for (size_t i = 0; i < 96; ++i) {
    const size_t y = i / 12, x = i % 12;
    REQUIRE(image[3 * i] == 1000 + 10 * y + x);
    REQUIRE(image[3 * i + 1] == 2000 + 10 * y + x);
    REQUIRE(image[3 * i + 2] == 3000 + 10 * (y / 2) + x / 2);
  }
  // Others by name only; an override of the calibration holds here, too.
  SceneOptions options = nearest;
  options.bands = {"SCL", "b2"};
  options.scale = 3;
  const Scene other = Scene::open(path, options);
  CHECK(other.bands()[0].name == "SCL");
  CHECK(other.bands()[1].scale == 3);
  CHECK(scene_name(path) == "item");
  options.bands = {"B12"};
  CHECK_THAT(refusal(path, options), Contains("no band 'B12'") && Contains("B02, B04, B11, SCL"));
}

TEST_CASE("stac: names of other constellations stay what they are", "[io][stac]") {
  const Files files;
  ordered_json item = item_of("landsat");
  item["assets"]["red"] = asset("img/red.tif");
  item["assets"]["blue"] = asset("img/blue.tif");
  const Scene scene = Scene::open(files.save(item));
  REQUIRE(scene.bands().size() == 2);
  CHECK(scene.bands()[0].name == "red");
  CHECK(scene.bands()[1].name == "blue");
}

TEST_CASE("stac: remote assets are refused where they are needed", "[io][stac]") {
  const Files files;
  ordered_json item = item_of("sentinel-2");
  item["assets"]["blue"] = asset("img/blue.tif");
  item["assets"]["blue-jp2"] = asset("s3://bucket/B02.jp2");
  item["assets"]["blue-jp2"]["eo:bands"] = {{{"name", "blue"}}};
  item["assets"]["green"] = asset("https://x.org/B03.tif");
  const fs::path path = files.save(item);
  CHECK_THAT(refusal(path), Contains("item.json") && Contains("band B03") &&
                                Contains("https://x.org/B03.tif") && Contains("download"));
  SceneOptions options;
  options.bands = {"B02"};
  CHECK(Scene::open(path, options).bands().size() == 1);
  options.bands = {"B03"};
  CHECK_THAT(refusal(path, options), Contains("https://x.org/B03.tif"));
}

TEST_CASE("stac: what is no item with rasters is refused by name", "[io][stac]") {
  const Files files;
  ordered_json item = item_of("sentinel-2");
  const auto save = [&](const std::function<void(ordered_json&)>& change) {
    ordered_json changed = item;
    change(changed);
    return refusal(files.save(changed));
  };
  CHECK_THAT(save([](auto&) {}), Contains("item.json lists no raster"));
  CHECK_THAT(save([](auto& i) { i["assets"]["m"] = {{"href", "m.xml"}}; }), Contains("no raster"));
  CHECK_THAT(save([](auto& i) { i["type"] = "Collection"; }),
             Contains("'Collection'") && Contains("Feature"));
  CHECK_THAT(save([](auto& i) { i.erase("assets"); }), Contains("item.json") && Contains("assets"));
  CHECK_THAT(save([](auto& i) {
               i["assets"]["red"] = {{"type", "image/tiff"}};
             }),
             Contains("item.json") && Contains("href"));
  CHECK_THAT(save([](auto& i) { i["assets"]["red"] = asset("img/none.tif"); }),
             Contains("none.tif"));
  CHECK_THAT(save([](auto& i) { i["assets"]["red"] = asset("img/visual.tif"); }),
             Contains("visual.tif has 3 bands"));
  CHECK_THAT(save([](auto& i) {
               i["assets"]["red"] = asset("img/red.tif");
               i["assets"]["red"]["raster:bands"] = {{{"scale", "much"}}};
             }),
             Contains("item.json") && Contains("damaged"));
  CHECK_THAT(save([](auto& i) {
               i["assets"]["B04_a"] = asset("img/red.tif");
               i["assets"]["B04_b"] = asset("img/blue.tif");
             }),
             Contains("red.tif") && Contains("blue.tif") && Contains("are band B04"));
  item["assets"]["red"] = asset("img/red.tif");
  const std::string whole = item.dump(1);
  for (size_t left = 0; left < whole.size(); left += 20) {
    write_file(files / "item.json", whole.substr(0, left));
    CHECK_THAT(refusal(files / "item.json"), Contains("item.json"));
  }
}

}  // namespace
}  // namespace unetd::io
