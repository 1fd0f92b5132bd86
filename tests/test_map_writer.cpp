// Maps, pictures and polygons: written, read again by GDAL, and refused or rolled back as promised.
#include "engine/base/file.h"
#include "io/gdal.h"
#include "io/gdal_map_writer.h"
#include "io/gdal_polygons.h"
#include "io/gdal_quicklook.h"
#include "io/scene.h"
#include "io/stitch.h"
#include "tests/support/map_source.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <limits>
#include <vector>

#include <catch2/catch.hpp>
#include <sys/resource.h>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;

const std::vector<MapClass> snow_and_water = {
    {"background", {90, 80, 70}}, {"snow", {250, 250, 255}}, {"lake's water", {0, 60, 200}}};

Grid utm_grid(int64_t width, int64_t height) {
  Grid grid{width, height, std::array<double, 6>{300000, 60, 0, 4500000, 0, -60}, "EPSG:32629", {}};
  return grid;
}

// Logits of three outputs and a validity mask, both patterned.
struct Prediction {
  Tensor values, valid;

  Prediction(int64_t width, int64_t height, int64_t outputs = 3)
      : values({1, height, width, outputs}, DType::f32), valid({1, height, width, 1}, DType::u8) {
    const auto v = values.span<float>();
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i * 37 % 101) / 100;
    const auto ok = valid.span<uint8_t>();
    for (size_t i = 0; i < ok.size(); ++i) ok[i] = i % 7 == 0 ? 0 : 1;
  }
  std::span<const float> at(size_t pixel) const {
    const auto c = static_cast<size_t>(values.shape().c);
    return values.span<float>().subspan(pixel * c, c);
  }
  uint8_t best(size_t pixel) const {
    const auto v = at(pixel);
    return static_cast<uint8_t>(std::max_element(v.begin(), v.end()) - v.begin());
  }
  // What a map of that kind is written from.
  Tensor content(Emit emit) const {
    if (emit != Emit::classes) return values.clone();
    Tensor classes(valid.shape(), DType::u8);
    const auto to = classes.span<uint8_t>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = best(i);
    return classes;
  }
};

MapOptions options(Emit emit) {
  MapOptions o;
  o.emit = emit;
  o.classes = snow_and_water;
  o.outputs = 3;
  return o;
}

void write_map(const fs::path& path, const Grid& grid, const MapOptions& o, const Prediction& p) {
  MapWriter writer(path, grid, o);
  writer.write(grid.whole(), p.content(o.emit), p.valid);
  writer.finish();
}

template <class T>
std::vector<T> read_all(const Dataset& dataset) {
  std::vector<int> bands;
  for (size_t i = 0; i < dataset.bands().size(); ++i) bands.push_back(static_cast<int>(i));
  const Grid& grid = dataset.grid();
  std::vector<T> pixels(static_cast<size_t>(grid.width * grid.height) * bands.size());
  dataset.read(grid.whole(), bands, dtype_of<T>, pixels.data());
  return pixels;
}

std::vector<std::string> names_in(const TempFolder& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.path()))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Stands in for a full disk: no file of this process can grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_CASE("class map: grid, colours, names, nodata, overviews and layout", "[io]") {
  const TempFolder folder;
  const auto path = folder / "map.tif";
  const Grid grid = utm_grid(619, 743);
  const Prediction p(619, 743);
  MapOptions o = options(Emit::classes);
  o.compression = GENERATE("deflate", "zstd");
  o.metadata = {{"MODEL", "best.ckpt"}};
  write_map(path, grid, o, p);

  const Dataset map = Dataset::open(path);
  CHECK(map.grid().geotransform == grid.geotransform);
  CHECK(crs_name(map.grid().crs) == "EPSG:32629");
  REQUIRE(map.bands().size() == 1);
  CHECK(map.bands()[0].type == "Byte");
  CHECK(map.bands()[0].nodata == 255.0);
  const auto pixels = read_all<uint8_t>(map);
  size_t wrong = 0;
  for (size_t i = 0; i < pixels.size(); ++i) wrong += pixels[i] != (i % 7 == 0 ? 255 : p.best(i));
  CHECK(wrong == 0);

  const MapInfo info = map_info(path);
  REQUIRE(info.classes.size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(info.classes[i].name == snow_and_water[i].name);
    CHECK(info.classes[i].colour == snow_and_water[i].colour);
  }
  CHECK(info.cloud_optimised);
  CHECK(info.overviews >= 1);
  CHECK(info.block == 256);
  CHECK(info.compression == (o.compression == "zstd" ? "ZSTD" : "DEFLATE"));
  const std::pair<std::string, std::string> model{"MODEL", "best.ckpt"};
  CHECK(std::count(info.metadata.begin(), info.metadata.end(), model) == 1);
  CHECK(names_in(folder) == std::vector<std::string>{"map.tif", "map.tif.aux.xml"});
}

TEST_CASE("a map written in parts; what is never written is nodata", "[io]") {
  const TempFolder folder;
  const Grid grid = utm_grid(300, 200);
  const Emit emit = GENERATE(Emit::classes, Emit::logits);
  MapWriter writer(folder / "map.tif", grid, options(emit));
  const Window part{37, 101, 150, 60};
  const Prediction p(150, 60);
  const Tensor content = p.content(emit), other = p.content(Emit::probabilities);
  writer.write(part, content, p.valid);
  CHECK_THROWS_AS(writer.write({200, 0, 150, 60}, content, p.valid), Error);
  CHECK_THROWS_AS(writer.write({0, 0, 10, 60}, content, p.valid), Error);
  if (emit == Emit::classes) CHECK_THROWS_AS(writer.write(part, other, p.valid), Error);
  writer.finish();
  CHECK_THROWS_AS(writer.finish(), Error);

  const Dataset map = Dataset::open(folder / "map.tif");
  const auto pixels = read_all<float>(map);
  const size_t bands = map.bands().size();
  size_t wrong = 0;
  for (int64_t y = 0; y < grid.height; ++y)
    for (int64_t x = 0; x < grid.width; ++x) {
      const float value = pixels[static_cast<size_t>(y * grid.width + x) * bands];
      const auto from = static_cast<size_t>((y - part.y) * part.width + x - part.x);
      const bool data = part.contains({x, y, 1, 1}) && from % 7 != 0;
      if (emit == Emit::classes)
        wrong += value != (data ? static_cast<float>(p.best(from)) : 255.0F);
      else
        wrong += data ? value != p.at(from)[0] : !std::isnan(value);
    }
  CHECK(wrong == 0);
}

TEST_CASE("probabilities: one described band a class, as float or scaled to u8", "[io]") {
  const TempFolder folder;
  const Grid grid = utm_grid(40, 30);
  const Prediction p(40, 30);
  write_map(folder / "f32.tif", grid, options(Emit::probabilities), p);
  write_map(folder / "u8.tif", grid, options(Emit::scaled_probabilities), p);
  const Dataset exact = Dataset::open(folder / "f32.tif"),
                scaled = Dataset::open(folder / "u8.tif");
  REQUIRE(exact.bands().size() == 3);
  REQUIRE(scaled.bands().size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(exact.bands()[i].description == snow_and_water[i].name);
    CHECK(std::isnan(exact.bands()[i].nodata.value_or(0)));
    CHECK(scaled.bands()[i].scale == Approx(1 / 250.0));
    CHECK(scaled.bands()[i].nodata == 255.0);
  }
  const auto f = read_all<float>(exact);
  const auto u = read_all<uint8_t>(scaled);
  size_t wrong = 0;
  for (size_t i = 0; i < f.size(); ++i) {
    const bool data = i / 3 % 7 != 0;
    wrong += data ? f[i] != p.values.span<float>()[i] : !std::isnan(f[i]);
    wrong += data ? std::abs(u[i] / 250.0 - static_cast<double>(f[i])) > 0.5001 / 250 : u[i] != 255;
  }
  CHECK(wrong == 0);
}

TEST_CASE("logits are stored as they are, uncompressed", "[io]") {
  const TempFolder folder;
  Prediction p(33, 20);
  p.values.span<float>()[5] = -1e30F;
  p.values.span<float>()[6] = std::numeric_limits<float>::infinity();
  write_map(folder / "logits.tif", utm_grid(33, 20), options(Emit::logits), p);
  const auto pixels = read_all<float>(Dataset::open(folder / "logits.tif"));
  CHECK(pixels[5] == -1e30F);
  CHECK(std::isinf(pixels[6]));
  CHECK(map_info(folder / "logits.tif").compression.empty());
}

TEST_CASE("a network of one output tells two classes apart", "[io]") {
  const TempFolder folder;
  MapOptions o = options(Emit::probabilities);
  o.classes.resize(2);
  o.outputs = 1;
  write_map(folder / "snow.tif", utm_grid(20, 20), o, Prediction(20, 20, 1));
  const Dataset snow = Dataset::open(folder / "snow.tif");
  REQUIRE(snow.bands().size() == 1);
  CHECK(snow.bands()[0].description == "snow");
}

TEST_CASE("maps keep control points, and pictures have no grid at all", "[io]") {
  const TempFolder folder;
  const std::string wgs84 =
      R"(GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],)"
      R"(PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]])";
  Grid grid{30, 20, {}, wgs84, {{0, 0, 10, 50, 0}, {30, 0, 11, 50, 0}, {0, 20, 10, 49, 7}}};
  write_map(folder / "gcp.tif", grid, options(Emit::classes), Prediction(30, 20));
  const Grid again = Dataset::open(folder / "gcp.tif").grid();
  CHECK_FALSE(again.georeferenced());
  CHECK(again.control_points == grid.control_points);
  CHECK(crs_name(again.crs) == "EPSG:4326");

  grid = {30, 20, {}, "", {}};
  write_map(folder / "plain.tif", grid, options(Emit::classes), Prediction(30, 20));
  CHECK_FALSE(Dataset::open(folder / "plain.tif").grid().georeferenced());
}

TEST_CASE("existing maps are kept unless told otherwise, and replaced whole", "[io]") {
  const TempFolder folder;
  const auto path = folder / "map.tif";
  const Grid grid = utm_grid(30, 20);
  MapOptions o = options(Emit::classes);
  const Prediction p(30, 20);
  write_map(path, grid, o, p);
  const std::string before = read_file(path);
  CHECK_THROWS_WITH(MapWriter(path, grid, o), Catch::Contains("map.tif exists"));
  CHECK(read_file(path) == before);

  o.overwrite = true;
  write_file(folder / "map.tif.ovr", "overviews of the old map");
  o.emit = Emit::logits;
  write_map(path, grid, o, p);
  CHECK(Dataset::open(path).bands().size() == 3);
  CHECK(map_info(path).classes.empty());  // the old map's side file does not describe the new one
  CHECK(names_in(folder) == std::vector<std::string>{"map.tif"});
}

TEST_CASE("a map that is not finished leaves nothing behind", "[io]") {
  const TempFolder folder;
  const Grid grid = utm_grid(300, 200);
  Prediction p(300, 200);
  {
    MapWriter writer(folder / "map.tif", grid, options(Emit::logits));
    writer.write(grid.whole(), p.values, p.valid);
  }
  CHECK(names_in(folder).empty());
  {
    MapWriter writer(folder / "map.tif", grid, options(Emit::probabilities));
    p.values.span<float>()[4] = std::nanf("");
    CHECK_THROWS_WITH(writer.write(grid.whole(), p.values, p.valid),
                      Catch::Contains("not a number"));
  }
  CHECK(names_in(folder).empty());
  {
    MapWriter writer(folder / "map.tif", grid, options(Emit::classes));
    Tensor classes = p.content(Emit::classes);
    classes.span<uint8_t>()[0] = 255;  // has no data
    writer.write(grid.whole(), classes, p.valid);
    classes.span<uint8_t>()[4] = 255;
    CHECK_THROWS_WITH(writer.write(grid.whole(), classes, p.valid),
                      Catch::Contains("not a number"));
  }
  CHECK(names_in(folder).empty());
}

TEST_CASE("outputs that cannot be written are one clear error", "[io]") {
  const TempFolder folder;
  write_file(folder / "file", "");
  const Grid grid = utm_grid(30, 20);
  for (const char* parent : {"missing", "file"}) {
    const auto path = folder / (std::string(parent) + "/map.tif");
    CHECK_THROWS_AS(MapWriter(path, grid, options(Emit::classes)), UserError);
    CHECK_THROWS_WITH(MapWriter(path, grid, options(Emit::classes)), Catch::Contains("folder"));
  }
  CHECK(names_in(folder) == std::vector<std::string>{"file"});
  MapOptions o = options(Emit::classes);
  o.compression = "jpeg";
  CHECK_THROWS_AS(MapWriter(folder / "map.tif", grid, o), UsageError);
  CHECK_THROWS_AS(parse_emit("pixels"), UsageError);
  CHECK(parse_emit("logits") == Emit::logits);
}

TEST_CASE("a full disk at any moment leaves nothing behind", "[io]") {
  const TempFolder folder;
  const Grid grid = utm_grid(300, 200);
  const Prediction p(300, 200);
  const Emit emit = GENERATE(Emit::classes, Emit::logits);
  write_map(folder / "whole.tif", grid, options(emit), p);
  const auto needed = fs::file_size(folder / "whole.tif");
  int failed = 0;
  for (const double share : {0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999}) {
    CAPTURE(share);
    {
      const FileSizeLimit limit(static_cast<rlim_t>(share * static_cast<double>(needed)));
      try {
        write_map(folder / "map.tif", grid, options(emit), p);
      } catch (const UserError&) {
        ++failed;
      }
    }
    CHECK_FALSE(fs::exists(folder / "map.tif"));
    const auto names = names_in(folder);
    CHECK(std::none_of(names.begin(), names.end(), [](const std::string& n) {
      return n.find("partial") != std::string::npos;
    }));
  }
  CHECK(failed == 10);
}

// A scene of three f32 bands whose pixel (0, 0) is nodata: logits with NaN are one.
fs::path write_scene(const TempFolder& folder, int64_t width, int64_t height) {
  Prediction p(width, height);
  const auto v = p.values.span<float>();
  const auto ok = p.valid.span<uint8_t>();
  for (size_t i = 0; i < ok.size(); ++i) {
    ok[i] = i == 0 ? 0 : 1;
    for (size_t k = 0; k < 3; ++k) v[3 * i + k] = static_cast<float>(i * (k + 1) % 97);
  }
  write_map(folder / "scene.tif", utm_grid(width, height), options(Emit::logits), p);
  return folder / "scene.tif";
}

TEST_CASE("a scene stitched into a map equals the scene where it has data", "[io]") {
  const TempFolder folder;
  const Scene scene = Scene::open(write_scene(folder, 150, 70));
  const auto copy = [](const Tensor& image, const Tensor&, const Window&) { return image.clone(); };
  for (const bool blend : {false, true}) {
    const fs::path path = folder / (blend ? "blend.tif" : "exact.tif");
    const TilePlan plan = blend ? plan_blend(150, 70, 96, 0.5, 16, BlendWindow::triangular)
                                : plan_exact(150, 70, 32, 16, 16);
    MapWriter writer(path, scene.grid(), options(Emit::logits));
    FunctionSource source(plan, copy);
    stitch(scene, plan, source,
           [&](const Window& window, const Tensor& values, const Tensor& valid) {
             writer.write(window, values, valid);
           });
    writer.finish();
    const auto before = read_all<float>(Dataset::open(scene.path()));
    const auto after = read_all<float>(Dataset::open(path));
    REQUIRE(after.size() == before.size());
    CHECK(same_grid(scene.grid(), Dataset::open(path).grid()));
    CHECK(std::isnan(after[0]));
    for (size_t i = 3; i < after.size(); ++i)
      if (std::abs(after[i] - before[i]) > 1e-4F || std::isnan(after[i])) FAIL("pixel " << i / 3);
  }
  const TilePlan wider = plan_exact(151, 70, 32, 16, 16);
  FunctionSource source(wider, copy);
  CHECK_THROWS_AS(stitch(scene, wider, source, {}), Error);
}

TEST_CASE("picture of a class map: its colours, nodata transparent", "[io]") {
  const TempFolder folder;
  const Prediction p(60, 30);
  write_map(folder / "map.tif", utm_grid(60, 30), options(Emit::classes), p);
  const Tensor picture = class_picture(folder / "map.tif", 1000);
  REQUIRE(picture.shape() == Shape{1, 30, 60, 4});
  const auto rgba = picture.span<uint8_t>();
  CHECK(rgba[3] == 0);
  for (size_t i = 1; i < 7; ++i) {
    const auto& colour = snow_and_water[p.best(i)].colour;
    CHECK(std::equal(colour.begin(), colour.end(), rgba.begin() + static_cast<int64_t>(4 * i)));
    CHECK(rgba[4 * i + 3] == 255);
  }
  CHECK(class_picture(folder / "map.tif", 20).shape() == Shape{1, 10, 20, 4});
  CHECK_THROWS_AS(class_picture(write_scene(folder, 20, 20), 20), UserError);
}

TEST_CASE("picture of a scene: stretched over valid pixels, nodata transparent", "[io]") {
  const TempFolder folder;
  const Scene scene = Scene::open(write_scene(folder, 97, 97));
  const Tensor picture = scene_picture(scene, {"3", "2", "1"}, 97);
  const auto rgba = picture.span<uint8_t>();
  CHECK(rgba[3] == 0);
  // Band 1 holds 0..96 once a row: 2 % of the values saturate at either end, the middle is grey.
  CHECK(rgba[4 * 97 + 2] == 0);
  CHECK(rgba[4 * (97 + 48) + 2] == Approx(128).margin(2));
  CHECK(rgba[4 * (97 + 96) + 2] == 255);
  CHECK(rgba[4 * (97 + 96) + 3] == 255);

  const Tensor bright = scene_picture(scene, {"3", "2", "1"}, 97, 2);
  CHECK(bright.span<uint8_t>()[4 * (97 + 48) + 2] == Approx(255 * std::sqrt(0.5)).margin(2));

  const Tensor small = scene_picture(scene, {"1"}, 10);
  CHECK(small.shape() == Shape{1, 10, 10, 4});
  CHECK(small.span<uint8_t>()[3] == 255);  // the other pixels of the cell have data
  CHECK(small.span<uint8_t>()[0] == small.span<uint8_t>()[2]);
  CHECK(scene_picture(scene, {}, 10).shape() == Shape{1, 10, 10, 4});
  CHECK_THROWS_WITH(scene_picture(scene, {"B99"}, 10), Catch::Contains("no band 'B99'"));
  CHECK_THROWS_AS(scene_picture(scene, {"4"}, 10), UsageError);
  CHECK_THROWS_AS(scene_picture(scene, {"1", "2"}, 10), UsageError);
}

TEST_CASE("one picture over another", "[io]") {
  const std::vector<uint8_t> below = {100, 100, 100, 255, 100, 100, 100, 255, 0, 0, 0, 0};
  const std::vector<uint8_t> above = {200, 0, 100, 255, 9, 9, 9, 0, 50, 60, 70, 255};
  const Shape shape{1, 1, 3, 4};
  const Tensor mixed =
      overlay(Tensor::from<uint8_t>(shape, below), Tensor::from<uint8_t>(shape, above), 0.5);
  const auto m = mixed.span<uint8_t>();
  CHECK(std::vector<uint8_t>(m.begin(), m.end()) ==
        std::vector<uint8_t>{150, 50, 100, 255, 100, 100, 100, 255, 50, 60, 70, 255});
}

TEST_CASE("pictures become PNG files", "[io]") {
  const TempFolder folder;
  const std::vector<uint8_t> rgb = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const Tensor picture = Tensor::from<uint8_t>({1, 2, 2, 3}, rgb);
  CHECK(png_bytes(picture).substr(0, 8) == "\x89PNG\r\n\x1a\n");
  write_png(folder / "a.png", picture, false);
  CHECK(read_all<uint8_t>(Dataset::open(folder / "a.png")) == rgb);
  CHECK_THROWS_WITH(write_png(folder / "a.png", picture, false), Catch::Contains("exists"));
  write_png(folder / "a.png", picture, true);
  CHECK_THROWS_AS(write_png(folder / "missing/a.png", picture, false), UserError);
  CHECK_THROWS_AS(png_bytes(Tensor({1, 2, 2, 1}, DType::u8)), Error);
  CHECK(names_in(folder) == std::vector<std::string>{"a.png"});
}

TEST_CASE("polygons of a class map", "[io]") {
  const TempFolder folder;
  // Left half class 2 with a hole of class 1, right half nodata, and a lone pixel of class 0 there.
  Prediction p(20, 10);
  for (size_t i = 0; i < 200; ++i) {
    const size_t x = i % 20, y = i / 20;
    const bool lone = x == 15 && y == 5, hole = x >= 2 && x < 5 && y == 4;
    p.valid.span<uint8_t>()[i] = x < 10 || lone ? 1 : 0;
    for (size_t k = 0; k < 3; ++k)
      p.values.span<float>()[3 * i + k] = k == (lone ? 0U : hole ? 1U : 2U) ? 1.0F : 0.0F;
  }
  write_map(folder / "map.tif", utm_grid(20, 10), options(Emit::classes), p);
  CHECK(polygonise(folder / "map.tif", folder / "p.gpkg", false) == 3);
  const std::string bytes = read_file(folder / "p.gpkg");
  CHECK(bytes.substr(0, 15) == "SQLite format 3");
  CHECK(bytes.find("lake's water") != std::string::npos);
  CHECK_THROWS_WITH(polygonise(folder / "map.tif", folder / "p.gpkg", false),
                    Catch::Contains("exists"));
  CHECK(polygonise(folder / "map.tif", folder / "p.gpkg", true) == 3);
  CHECK_THROWS_AS(polygonise(write_scene(folder, 20, 20), folder / "q.gpkg", false), UserError);
  CHECK_THROWS_AS(polygonise(folder / "map.tif", folder / "missing/q.gpkg", false), UserError);
  {
    const FileSizeLimit limit(5000);
    CHECK_THROWS_AS(polygonise(folder / "map.tif", folder / "q.gpkg", false), UserError);
  }
  CHECK(names_in(folder) ==
        std::vector<std::string>{"map.tif", "map.tif.aux.xml", "p.gpkg", "scene.tif"});
}

}  // namespace
}  // namespace unetd::io
