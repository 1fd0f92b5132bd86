// Labels from vectors, from a product's classification and by rules, and the file that describes
// them.
#include "engine/base/error.h"
#include "io/gdal.h"
#include "io/label_sources.h"
#include "tests/support/rasters.h"
#include "tests/support/temp_folder.h"
#include "tools/class_file.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

// 40 x 30 pixels of 10 m in UTM zone 29.
Grid scene_grid() { return test_grid(40, 30); }

ClassMap some_classes() {
  ClassMap map;
  map.classes = {{0, "land"}, {1, "water"}, {2, "cloud"}};
  map.ignore = {255};
  map.vector.attribute = "cover";
  return map;
}

// A rectangle of pixels as a ring of coordinates.
std::string ring(const Grid& grid, double x0, double y0, double x1, double y1) {
  const auto& g = *grid.geotransform;
  const auto at = [&](double x, double y) {
    char text[80];
    std::snprintf(text, sizeof text, "[%.3f,%.3f]", g[0] + x * g[1], g[3] + y * g[5]);
    return std::string(text);
  };
  return str("[[", at(x0, y0), ",", at(x1, y0), ",", at(x1, y1), ",", at(x0, y1), ",", at(x0, y0),
             "]]");
}

std::string feature(const std::string& cover, const std::string& rings) {
  return str(R"({"type":"Feature","properties":{"cover":)", cover,
             R"(},"geometry":{"type":"Polygon","coordinates":)", rings, "}}");
}

void write_features(const fs::path& path, const std::string& features,
                    const std::string& crs = "urn:ogc:def:crs:EPSG::32629") {
  std::ofstream(path)
      << R"({"type":"FeatureCollection","crs":{"type":"name","properties":{"name":")" << crs
      << R"("}},"features":[)" << features << "]}";
}

Tensor labels_of(const fs::path& source, const ClassMap& map) {
  return make_labels(source, "", {}, scene_grid(), map);
}

uint8_t at(const Tensor& labels, int64_t x, int64_t y) {
  return labels.span<uint8_t>()[static_cast<size_t>(y * labels.shape().w + x)];
}

TEST_CASE("labels: features are burned in the order of the classes", "[io][labels]") {
  const TempFolder folder;
  const Grid grid = scene_grid();
  // Water is listed after land, so that it lies on top although it comes first in the file.
  write_features(folder / "l.geojson", feature("\"water\"", ring(grid, 10, 10, 20, 20)) + "," +
                                           feature("\"land\"", ring(grid, 0, 0, 15, 30)));
  ClassMap map = some_classes();
  const Tensor labels = labels_of(folder / "l.geojson", map);
  CHECK(at(labels, 5, 5) == 0);
  CHECK(at(labels, 12, 12) == 1);
  CHECK(at(labels, 19, 19) == 1);
  CHECK(at(labels, 20, 20) == ignore_label);
  const auto span = labels.span<uint8_t>();
  CHECK(std::ranges::count(span, 1) == 100);
  CHECK(std::ranges::count(span, 0) == 15 * 30 - 50);
  map.background = 2;
  CHECK(at(labels_of(folder / "l.geojson", map), 20, 20) == 2);
}

TEST_CASE("labels: all pixels that a feature touches, or those with the centre in",
          "[io][labels]") {
  const TempFolder folder;
  write_features(folder / "l.geojson", feature("1", ring(scene_grid(), 10.6, 10.6, 12.4, 12.4)));
  ClassMap map = some_classes();
  CHECK(std::ranges::count(labels_of(folder / "l.geojson", map).span<uint8_t>(), 1) == 1);
  map.vector.all_touched = true;
  CHECK(std::ranges::count(labels_of(folder / "l.geojson", map).span<uint8_t>(), 1) == 9);
}

TEST_CASE("labels: features are brought to the scene's coordinates", "[io][labels]") {
  const TempFolder folder;
  Grid grid = scene_grid();
  write_features(folder / "utm.geojson", feature("1", ring(grid, 10, 10, 20, 20)));
  const Tensor wanted = labels_of(folder / "utm.geojson", some_classes());
  const std::string command = str("ogr2ogr -t_srs EPSG:4326 ", (folder / "l.gpkg").string(), " ",
                                  (folder / "utm.geojson").string(), " > /dev/null 2>&1");
  if (std::system(command.c_str()) != 0) {
    WARN("skipped: ogr2ogr is not installed");
    return;
  }
  const Tensor labels = labels_of(folder / "l.gpkg", some_classes());
  CHECK(std::ranges::equal(labels.span<uint8_t>(), wanted.span<uint8_t>()));
}

TEST_CASE("labels: what is wrong with vectors is said", "[io][labels]") {
  const TempFolder folder;
  const Grid grid = scene_grid();
  const fs::path path = folder / "l.geojson";
  const std::string square = ring(grid, 1, 1, 5, 5);
  ClassMap map = some_classes();
  write_features(path, feature("\"lava\"", square) + "," + feature("\"lava\"", square));
  CHECK_THROWS_WITH(labels_of(path, map), Contains("'lava' (2 features)"));
  map.texts["lava"] = 2;
  CHECK(at(labels_of(path, map), 2, 2) == 2);
  map.vector.attribute = "kind";
  CHECK_THROWS_WITH(labels_of(path, map), Contains("no attribute 'kind'") && Contains("cover"));
  map.vector.attribute = "";
  CHECK_THROWS_AS(labels_of(path, map), UsageError);
  map.vector = {"cover", "other"};
  CHECK_THROWS_WITH(labels_of(path, map), Contains("no layer 'other'"));
  std::ofstream(path) << R"({"type":"FeatureCollection","features":[{"type":"Fea)";
  CHECK_THROWS_AS(labels_of(path, some_classes()), UserError);
  CHECK_THROWS_AS(labels_of(folder / "none.gpkg", some_classes()), UserError);
}

TEST_CASE("labels: later rules lie on top", "[io][labels]") {
  const TempFolder folder;
  Grid part = scene_grid();
  part.width = 20;
  write_raster<float>(folder / "occurrence.tif", part, {{"v"}},
                      [](int64_t, int64_t, int64_t x) { return 5.F * static_cast<float>(x); });
  write_raster<uint8_t>(folder / "islands.tif", scene_grid(), {{"v"}},
                        [](int64_t, int64_t y, int64_t) { return y < 3 ? 1 : 0; });
  std::ofstream(folder / "classes.yml") << R"(
classes:
  - {name: land, value: 0}
  - {name: water, values: [1, 7], color: "#2f6fde", texts: [lake]}
background: land
vector: {attribute: cover, all_touched: true}
rules:
  - {class: water, raster: occurrence.tif, from: 50}
  - {class: land, raster: islands.tif, equal: 1}
)";
  const ClassMap map = read_class_file(folder / "classes.yml", "255");
  CHECK(map.classes[1].color == "#2f6fde");
  CHECK(map.further.at(7) == 1);
  CHECK(map.texts.at("lake") == 1);
  CHECK(map.vector.all_touched);
  CHECK(map.ignore == std::vector<int64_t>{255});
  const Tensor labels = labels_of("rules", map);
  for (int64_t y = 0; y < 30; ++y)
    for (int64_t x = 0; x < 40; ++x) REQUIRE(at(labels, x, y) == (x >= 10 && x < 20 && y >= 3));
  CHECK_THROWS_AS(labels_of("rules", some_classes()), UsageError);
}

TEST_CASE("labels: several values mean one class", "[io][labels]") {
  const TempFolder folder;
  write_raster<int16_t>(folder / "l.tif", scene_grid(), {{"v"}}, [](int64_t, int64_t, int64_t x) {
    return x < 10 ? 1 : x < 20 ? 7 : 0;
  });
  ClassMap map = some_classes();
  CHECK_THROWS_WITH(labels_of(folder / "l.tif", map), Contains("7 (300 pixels)"));
  map.further[7] = 1;
  CHECK(at(labels_of(folder / "l.tif", map), 15, 3) == 1);
  map.further[1] = 2;
  CHECK_THROWS_AS(check(map), UsageError);
}

TEST_CASE("labels: mistakes in a class file are named by line and key", "[io][labels]") {
  const TempFolder folder;
  const fs::path path = folder / "c.yml";
  const auto refusal = [&](const std::string& text) {
    std::ofstream(path) << text;
    try {
      read_class_file(path, "255");
    } catch (const UsageError& e) {
      return std::string(e.what());
    }
    FAIL("accepted: " << text);
    return std::string();
  };
  const std::string one = "classes:\n  - {name: a, value: 0}\n";
  CHECK_THAT(refusal("classes: [\n"), Contains("c.yml, line"));
  CHECK_THAT(refusal("colours: 3\n"), Contains("no key `colours`"));
  CHECK_THAT(refusal("classes:\n  - {value: 0}\n"),
             Contains("line 2") && Contains("without `name`"));
  CHECK_THAT(refusal("classes:\n  - {name: a, value: x}\n"), Contains("`value` cannot be 'x'"));
  CHECK_THAT(refusal("classes:\n  - {name: a, values: []}\n"), Contains("values"));
  CHECK_THAT(refusal(one + "background: b\n"), Contains("line 3") && Contains("no class 'b'"));
  CHECK_THAT(refusal(one + "rules:\n  - {class: a, raster: r.tif}\n"), Contains("either `equal"));
  CHECK_THAT(refusal(one + "rules:\n  - {class: a, raster: r.tif, equal: 1, to: 3}\n"),
             Contains("either `equal"));
  CHECK_THAT(refusal(one + "vector: {layer: l}\n"), Contains("`vector` needs `attribute`"));
  CHECK_THAT(refusal("just text\n"), Contains("no class file"));
}

TEST_CASE("labels: a product's own classification", "[io][labels]") {
  const auto data = real_data();
  if (!data) return;
  fs::path product;
  for (const auto& entry : fs::directory_iterator(*data / "t29unu-l2a-n0400-safe"))
    if (entry.path().extension() == ".SAFE") product = entry.path();
  SceneOptions options;
  options.resolution = 60;
  const Scene scene = Scene::open(product, options);
  ClassMap map;
  map.classes = {{4, "land"}, {6, "water"}, {3, "shadow"}, {8, "cloud"}, {10, "cirrus"}};
  map.further = {{5, 0}, {2, 2}, {9, 3}};
  map.ignore = {0, 1, 7, 11};
  const Tensor labels = make_labels("SCL", product, options, scene.grid(), map);
  // The folder's mask is made of the same layer; it also lacks pixels where a band has no data.
  ClassMap plain;
  plain.classes = {{0, "land"}, {1, "water"}, {2, "shadow"}, {3, "cloud"}, {4, "cirrus"}};
  plain.ignore = {255};
  const Tensor mask =
      read_labels(*data / "t29unu-60m-geotiff" / "mask_5class_60m.tif", scene.grid(), plain);
  int64_t same = 0, only_here = 0;
  for (size_t i = 0; i < mask.span<uint8_t>().size(); ++i) {
    const uint8_t a = labels.span<uint8_t>()[i], b = mask.span<uint8_t>()[i];
    if (b == ignore_label && a != ignore_label)
      ++only_here;
    else
      REQUIRE(a == b);
    same += a == b && a != ignore_label ? 1 : 0;
  }
  CHECK(same > 1'500'000);
  CHECK(only_here < same / 100);
}

}  // namespace
}  // namespace unetd::io
