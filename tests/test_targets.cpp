// Stores of targets: what a raster of numbers becomes, pixel by pixel, and what is refused.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/tensor/safetensors.h"
#include "io/build_store.h"
#include "io/patch_store.h"
#include "io/targets.h"
#include "tests/support/rasters.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

constexpr int64_t width = 200, height = 160, side = 20;

// No data in the scene's corner.
bool has_data(int64_t y, int64_t x) { return x + y >= 30; }

// Holes of every kind, and numbers that no f32 holds by chance: thirds, large and small.
constexpr float nodata = -9999;
float stored(int64_t y, int64_t x) {
  if (y % 37 == 3) return nodata;
  if (x % 41 == 5) return std::numeric_limits<float>::quiet_NaN();
  if ((x + y) % 53 == 7) return std::numeric_limits<float>::infinity();
  if ((x + 2 * y) % 59 == 9) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(1000 * std::sin(0.05 * static_cast<double>(x)) +
                            static_cast<double>(y * y) / 3);
}
// The target, or none.
std::optional<float> target_at(int64_t y, int64_t x) {
  const float value = stored(y, x);
  if (x >= width || y >= height || !has_data(y, x) || value == nodata || !std::isfinite(value))
    return std::nullopt;
  return value;
}

LabelledScene write_scene(const TempFolder& folder, const std::string& name,
                          std::optional<Split> split = {}) {
  const fs::path scene = folder / (name + ".tif"), targets = folder / (name + "_height.tif");
  write_raster<uint8_t>(
      scene, test_grid(width, height), {{"grey", 1, 0, 0.0}},
      [](int64_t, int64_t y, int64_t x) { return has_data(y, x) ? 1 + (7 * y + 3 * x) % 250 : 0; });
  write_raster<float>(targets, test_grid(width, height), {{"", 1, 0, nodata}},
                      [](int64_t, int64_t y, int64_t x) { return stored(y, x); });
  return {scene, targets, split};
}

BuildOptions options_for(const TempFolder& folder, std::vector<LabelledScene> sources) {
  BuildOptions o;
  o.sources = std::move(sources);
  o.target = TargetOptions{"height", "m", {}};
  o.sampling.patch = side;
  o.split.block = 40;
  o.out = folder / "store";
  return o;
}

TEST_CASE("targets: every pixel of every patch is the raster's, or none", "[io][targets]") {
  const TempFolder folder;
  BuildOptions o = options_for(folder, {write_scene(folder, "a")});
  o.sampling.min_coverage = 0.1;
  o.sampling.patch = 35;  // the last windows reach outside the scene, and images have odd sizes
  o.split.block = 70;
  std::vector<std::string> stages;
  build_store(o, [&](const std::string& what, int64_t, int64_t) {
    if (stages.empty() || stages.back() != what) stages.push_back(what);
  });
  CHECK(stages == std::vector<std::string>{"a: targets", "a: search for pixels without data",
                                           "a: plan of the patches",
                                           "a: patches with their statistics"});
  const PatchStore store = PatchStore::open(o.out);
  const StoreSchema& schema = store.schema();
  REQUIRE(schema.target);
  CHECK(schema.target->name == "height");
  CHECK(schema.target->unit == "m");
  CHECK(schema.classes == std::vector{output_of(*schema.target)});
  CHECK(schema.classes[0].name == "height");
  CHECK(schema.label_type() == DType::f32);
  REQUIRE(schema.patches.size() > 15);

  std::array<std::vector<int64_t>, 3> counted;
  for (auto& counts : counted) counts.assign(2, 0);
  std::vector<double> training;
  for (int64_t i = 0; i < std::ssize(schema.patches); ++i) {
    const PatchRecord& patch = schema.patches[static_cast<size_t>(i)];
    const PatchView view = store.view(i);
    CHECK(view.label == nullptr);
    const Tensor copy = store.labels(i);
    CHECK(copy.dtype() == DType::f32);
    CHECK(std::memcmp(copy.data(), view.target, copy.bytes()) == 0);
    for (int64_t p = 0; p < 35 * 35; ++p) {
      const auto want = target_at(patch.window.y + p / 35, patch.window.x + p % 35);
      if (want)
        REQUIRE(view.target[p] == *want);
      else
        REQUIRE(std::isnan(view.target[p]));
      ++counted[static_cast<size_t>(patch.split)][want ? 0 : 1];
      if (want && patch.split == Split::train) training.push_back(static_cast<double>(*want));
    }
  }
  CHECK(schema.class_pixels == counted);

  // In two passes, as one would by hand.
  double sum = 0, squares = 0;
  for (const double v : training) sum += v;
  const auto n = static_cast<double>(training.size());
  for (const double v : training) squares += (v - sum / n) * (v - sum / n);
  CHECK(schema.target->count == std::ssize(training));
  CHECK(schema.target->min == *std::ranges::min_element(training));
  CHECK(schema.target->max == *std::ranges::max_element(training));
  CHECK(schema.target->mean == Approx(sum / n).epsilon(1e-12));
  CHECK(schema.target->stddev == Approx(std::sqrt(squares / n)).epsilon(1e-12));
}

TEST_CASE("targets: a store tells the same when it is opened, and has its own version",
          "[io][targets]") {
  const TempFolder folder;
  BuildOptions o = options_for(folder, {write_scene(folder, "a")});
  const StoreSchema built = build_store(o), opened = PatchStore::open(o.out).schema();
  CHECK(opened.target == built.target);
  CHECK(opened.classes == built.classes);
  CHECK(opened.class_pixels == built.class_pixels);
  const std::string json = read_file(o.out / "store.json");
  CHECK_THAT(json, Contains("\"version\": 4") && Contains("\"target\""));
  CHECK(fs::file_size(o.out / "target.png") > 500);
  CHECK(fs::exists(o.out / "overview.png"));
  CHECK_FALSE(fs::exists(o.out / "classes.png"));
  const SafeTensorsFile shard(o.out / "shard-00000.safetensors");
  CHECK(shard.info("label").dtype == DType::f32);
  CHECK(shard.info("label").begin == 0);

  // The same ground with classes is of the version that there was before.
  write_raster<uint8_t>(folder / "classes.tif", test_grid(width, height), {{""}},
                        [](int64_t, int64_t, int64_t x) { return x / 5 % 2; });
  o.target.reset();
  o.classes.classes = {{0, "land"}, {1, "water"}};
  o.sources[0].labels = folder / "classes.tif";
  o.overwrite = true;
  CHECK_FALSE(build_store(o).target);
  const std::string of_classes = read_file(o.out / "store.json");
  CHECK_THAT(of_classes, Contains("\"version\": 3") && !Contains("\"target\""));
  CHECK_FALSE(fs::exists(o.out / "target.png"));
  CHECK(PatchStore::open(o.out).view(0).target == nullptr);
}

TEST_CASE("targets: training patches drawn over listed tiles learn those tiles only",
          "[io][targets]") {
  const TempFolder folder;
  BuildOptions o = options_for(folder, {write_scene(folder, "a")});
  o.split.method = SplitOptions::Method::list;
  o.split.list = folder / "tiles.csv";
  write_file(o.split.list, "split,x,y,size\ntrain,60,60,20\ntrain,80,60,20\ntest,140,100,20\n");
  o.sampling.samples = 25;
  o.sampling.min_coverage = 0.3;
  o.sampling.balance = {1};  // around pixels that have a target
  build_store(o);
  const PatchStore store = PatchStore::open(o.out);
  const Window tiles{60, 60, 40, 20};
  CHECK(store.indices(Split::train).size() == 25);
  for (const int64_t i : store.indices(Split::train)) {
    const Window& w = store.schema().patches[static_cast<size_t>(i)].window;
    for (int64_t p = 0; p < side * side; ++p) {
      const int64_t x = w.x + p % side, y = w.y + p / side;
      const bool has = tiles.contains({x, y, 1, 1}) && target_at(y, x);
      REQUIRE(std::isnan(store.view(i).target[p]) == !has);
    }
  }
}

std::map<std::string, std::string> content(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    files[entry.path().filename()] = read_file(entry.path());
  return files;
}

TEST_CASE("targets: scenes that are added later give the bytes of one run", "[io][targets]") {
  const TempFolder folder;
  const std::vector<LabelledScene> all = {write_scene(folder, "a", Split::train),
                                          write_scene(folder, "b", Split::valid),
                                          write_scene(folder, "c", Split::train)};
  BuildOptions o = options_for(folder, all);
  o.out = folder / "whole";
  build_store(o);
  o.out = folder / "grown";
  o.sources = {all[0]};
  build_store(o);
  o.append = true;
  o.sources = all;
  build_store(o);
  const auto whole = content(folder / "whole"), grown = content(folder / "grown");
  CHECK(whole.contains("target.png"));
  CHECK(whole == grown);

  const auto refused = [&](const std::function<void(BuildOptions&)>& change) {
    BuildOptions other = o;
    change(other);
    return refusal([&] { build_store(other); });
  };
  CHECK_THAT(refused([](BuildOptions& b) { b.target->name = "depth"; }),
             Contains("grown has a target height in m, not a target depth in m"));
  CHECK_THAT(refused([](BuildOptions& b) { b.target->unit = ""; }),
             Contains("has a target height in m, not a target height;"));
  CHECK_THAT(refused([](BuildOptions& b) {
               b.target.reset();
               b.classes.classes = {{0, "height"}};
             }),
             Contains("has a target height in m, not classes"));
  CHECK(content(folder / "grown") == grown);
}

TEST_CASE("targets: rasters that give none are refused with the reason", "[io][targets]") {
  const TempFolder folder;
  BuildOptions o = options_for(folder, {write_scene(folder, "a")});
  const auto refused = [&](const std::string& labels) {
    o.sources[0].labels = labels.ends_with(".tif") ? folder / labels : fs::path(labels);
    const std::string message = refusal([&] { build_store(o); });
    CHECK_FALSE(fs::exists(o.out));
    return message;
  };
  const auto ramp = [](int64_t, int64_t y, int64_t x) { return x + y; };
  write_raster<float>(folder / "shifted.tif", test_grid(width, height, 10, 500100), {{""}}, ramp);
  CHECK_THAT(refused("shifted.tif"), Contains("targets ") &&
                                         Contains("shifted.tif are not on the "
                                                  "scene's grid: its origin") &&
                                         Contains("gdalwarp -r near"));
  write_raster<float>(folder / "two.tif", test_grid(width, height), {{"a"}, {"b"}}, ramp);
  CHECK_THAT(refused("two.tif"), Contains("two.tif have 2 bands: a target raster has one"));
  write_raster<float>(folder / "empty.tif", test_grid(width, height), {{"", 1, 0, 3.0}},
                      [](int64_t, int64_t y, int64_t x) { return (x + y) % 2 == 0 ? NAN : 3; });
  CHECK_THAT(refused("empty.tif"), Contains("empty.tif hold no number"));
  CHECK_THAT(refused("absent.tif"), Contains("absent.tif"));
  CHECK_THAT(refused("SCL"), Contains("SCL are the classification of a product"));
  CHECK_THAT(refused("rules"), Contains("rules for classes"));
  CHECK_THAT(refused("fields.gpkg"), Contains("fields.gpkg are vectors") && Contains("raster"));
  write_file(folder / "complex.vrt.tif",
             str("<VRTDataset rasterXSize=\"", width, "\" rasterYSize=\"", height,
                 "\"><VRTRasterBand dataType=\"CFloat32\" band=\"1\"/></VRTDataset>"));
  CHECK_THAT(refused("complex.vrt.tif"), Contains("complex numbers"));
  o.target->name = "";
  CHECK_THAT(refused("a_height.tif"), Contains("give its name"));
  o.target->name = "height";
  o.classes.classes = {{0, "land"}};
  CHECK_THAT(refused("a_height.tif"), Contains("classes or a target, not both"));
  // Cut short, it is not taken for a raster with holes.
  o.classes.classes.clear();
  fs::resize_file(folder / "a_height.tif", fs::file_size(folder / "a_height.tif") / 2);
  CHECK_THAT(refused("a_height.tif"), Contains("a_height.tif"));
}

TEST_CASE("targets: a damaged store is refused", "[io][targets]") {
  const TempFolder folder;
  const BuildOptions o = options_for(folder, {write_scene(folder, "a")});
  const Target target = *build_store(o).target;
  const fs::path json = o.out / "store.json", shard = o.out / "shard-00000.safetensors";
  const std::string good_json = read_file(json), good_shard = read_file(shard);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good_json;
    REQUIRE(text.find(from) != std::string::npos);
    text.replace(text.find(from), from.size(), to);
    write_file(json, text);
    return refusal([&] { PatchStore::open(o.out); });
  };
  CHECK_THAT(replaced("\"version\": 4", "\"version\": 3"), Contains("'label' does not fit"));
  CHECK_THAT(replaced("\"version\": 4", "\"version\": 5"),
             Contains("version 5") && Contains("reads 3 and 4"));
  CHECK_THAT(replaced("\"target\"", "\"tarjet\""), Contains("store.json is damaged"));
  CHECK_THAT(replaced("\"unit\"", "\"Unit\""), Contains("store.json is damaged"));
  CHECK_THAT(replaced("\"name\": \"height\"", "\"name\": \"depth\""),
             Contains("its class is not its target"));
  CHECK_THAT(replaced("\"unit\": \"m\",\n    \"count\": ", "\"unit\": \"m\",\n    \"count\": 1"),
             Contains("not that of the training pixels"));
  CHECK_THAT(replaced("\"unit\": \"m\"", "\"unit\": 5"), Contains("store.json is damaged"));
  const auto broken = [&](double min, double max, double mean, double stddev) {
    nlohmann::ordered_json all = nlohmann::ordered_json::parse(good_json);
    auto& t = all["target"];
    t["min"] = min, t["max"] = max, t["mean"] = mean, t["stddev"] = stddev;
    write_file(json, all.dump(2));
    return refusal([&] { PatchStore::open(o.out); });
  };
  const auto& t = target;
  CHECK_THAT(broken(t.min, t.max, t.mean, -1), Contains("contradict"));
  CHECK_THAT(broken(t.min, t.max, t.mean, 2 * (t.max - t.min)), Contains("contradict"));
  CHECK_THAT(broken(t.min, t.max, t.max + 1, t.stddev), Contains("contradict"));
  CHECK_THAT(broken(t.max, t.min, t.mean, t.stddev), Contains("contradict"));
  write_file(json, good_json);

  // A wrong bit of a target is found like one of an image.
  const SafeTensorsFile tensors(shard);
  const size_t header = good_shard.size() - tensors.bytes("image").size() -
                        tensors.bytes("label").size() - tensors.bytes("valid").size();
  std::string flipped = good_shard;
  const size_t in_patch_3 = header + 3 * side * side * sizeof(float) + 5;
  flipped[in_patch_3] = static_cast<char>(flipped[in_patch_3] ^ 1);
  write_file(shard, flipped);
  const PatchStore store = PatchStore::open(o.out);
  CHECK_NOTHROW(store.view(2));
  CHECK_THAT(refusal([&] { store.labels(3); }), Contains("checksum of its patch 3"));
  CHECK_THAT(refusal([&] { store.verify(); }), Contains("patch 3"));
}

TEST_CASE("targets: labels of another type and infinite ones are refused when written",
          "[io][targets]") {
  const TempFolder folder;
  StoreSchema schema;
  schema.patch = 3;
  schema.dtype = DType::u8;
  schema.bands = {{"B1", {}, 1, 0}};
  schema.target = Target{"t", ""};
  schema.classes = {output_of(*schema.target)};
  schema.sources = {{}};
  PatchStoreWriter writer(folder / "store", schema, false);
  const auto add = [&](DType type, float value) {
    Raster raster{Tensor({1, 3, 3, 1}, DType::u8), Tensor({1, 3, 3, 1}, DType::u8)};
    std::ranges::fill(raster.valid.span<uint8_t>(), uint8_t{1});
    Tensor labels({1, 3, 3, 1}, type);
    if (type == DType::f32) labels.span<float>()[4] = value;
    writer.add({0, {0, 0, 3, 3}, Split::train}, raster, std::move(labels));
  };
  CHECK_THROWS_AS(add(DType::u8, 0), Error);
  CHECK_THROWS_AS(add(DType::f32, INFINITY), Error);
  add(DType::f32, NAN);
  add(DType::f32, -2);
  const Target target = *writer.finish().target;
  CHECK(target.count == 17);
  CHECK(target.min == -2);
  CHECK(target.max == 0);
  CHECK(target.mean == Approx(-2.0 / 17));
  const PatchStore store = PatchStore::open(folder / "store");
  CHECK(store.view(0).valid == nullptr);
  CHECK(std::isnan(store.view(0).target[4]));
  CHECK(store.view(1).target[4] == -2);
}

TEST_CASE("targets: no training patch, no constants", "[io][targets]") {
  const TempFolder folder;
  const BuildOptions o = options_for(folder, {write_scene(folder, "a", Split::test)});
  build_store(o);
  CHECK(PatchStore::open(o.out).schema().target == Target{"height", "m"});
}

// The reflectance of a real band as a raster of its own, with holes; the others are the scene.
TEST_CASE("targets: a band of the real scene, told by the others", "[io][targets][data]") {
  const auto data = real_data();
  if (!data) return;
  const TempFolder folder;
  const fs::path scene = *data / "t29unu-60m-geotiff" / "scene_11b_60m.tif";
  SceneOptions only;
  only.bands = {"B8A"};
  const Scene infrared = Scene::open(scene, only);
  const Grid& grid = infrared.grid();
  const Raster band = infrared.read(grid.whole());
  const SceneBand& meaning = infrared.bands()[0];
  REQUIRE(meaning.offset == Approx(-0.1));
  const auto is_hole = [](int64_t y, int64_t x) { return y / 40 % 7 == 2 && x / 30 % 5 == 1; };
  const auto reflectance = [&](int64_t y, int64_t x) {
    const auto dn = static_cast<double>(band.image.span<uint16_t>()[y * grid.width + x]);
    return static_cast<float>(dn * meaning.scale + meaning.offset);
  };
  write_raster<float>(
      folder / "nir.tif", grid, {{"", 1, 0, -1.0}},
      [&](int64_t, int64_t y, int64_t x) { return is_hole(y, x) ? -1 : reflectance(y, x); });
  BuildOptions o = options_for(folder, {{scene, folder / "nir.tif"}});
  o.target = TargetOptions{"near infrared", "", {}};
  o.scene.bands = {"B02", "B03", "B04"};
  o.sampling.patch = 128;
  o.split.block = 0;
  build_store(o);
  const PatchStore store = PatchStore::open(o.out);
  CHECK(store.schema().bands.size() == 3);
  REQUIRE(store.schema().patches.size() > 100);
  int64_t wrong = 0, with = 0, holes = 0;
  for (int64_t i = 0; i < std::ssize(store.schema().patches); ++i) {
    const Window& w = store.schema().patches[static_cast<size_t>(i)].window;
    const PatchView view = store.view(i);
    for (int64_t p = 0; p < 128 * 128; ++p) {
      const int64_t y = w.y + p / 128, x = w.x + p % 128;
      const bool valid = view.valid == nullptr || view.valid[p] != 0;
      const bool want = valid && !is_hole(y, x);
      const float target = view.target[p];
      wrong += want ? (target == reflectance(y, x) ? 0 : 1) : (std::isnan(target) ? 0 : 1);
      with += want ? 1 : 0;
      holes += valid && !want ? 1 : 0;
    }
  }
  CHECK(wrong == 0);
  CHECK(with > 1'000'000);
  CHECK(holes > 10'000);
  CHECK(store.schema().target->min > -0.2);
  CHECK(store.schema().target->mean > 0.05);
}

}  // namespace
}  // namespace unetd::io
