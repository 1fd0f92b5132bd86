// What a store is built from and how much of it: limits, dates, scenes added later, and the counts
// that it reports.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "io/build_store.h"
#include "io/conform.h"
#include "io/draw.h"
#include "io/patch_store.h"
#include "tests/support/rasters.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"
#include "tools/synth/product.h"
#include "tools/synth/synth.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

const std::vector<ClassInfo> three_classes = {
    {0, "land", "#886644"}, {1, "water", "#0044ff"}, {2, "ice", "#ffffff"}};

// A made-up scene by formula: no data in a corner, ignored labels in a strip, three classes.
bool has_data(int64_t y, int64_t x) { return x + y >= 60; }
int64_t label_at(int64_t y, int64_t x) {
  return !has_data(y, x) || y % 97 < 5 ? ignore_label : x / 50 % 7 == 3 ? 2 : (x + y) / 40 % 2;
}

LabelledScene write_scene(const TempFolder& folder, const std::string& name, int64_t size,
                          std::optional<Split> split = {}) {
  const fs::path scene = folder / (name + ".tif"), labels = folder / (name + "_labels.tif");
  write_raster<uint8_t>(
      scene, test_grid(size, size), {{"grey", 1, 0, 0.0}},
      [](int64_t, int64_t y, int64_t x) { return has_data(y, x) ? 1 + (7 * y + 3 * x) % 250 : 0; });
  write_raster<uint8_t>(labels, test_grid(size, size), {{""}},
                        [](int64_t, int64_t y, int64_t x) { return label_at(y, x); });
  return {scene, labels, split};
}

BuildOptions options_for(const TempFolder& folder, std::vector<LabelledScene> sources) {
  BuildOptions o;
  o.sources = std::move(sources);
  o.classes = {three_classes, {255}};
  o.sampling.patch = 16;
  o.out = folder / "store";
  return o;
}

std::map<std::string, std::string> content(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    files[entry.path().filename()] = read_file(entry.path());
  return files;
}

int64_t training_patches(const StoreSchema& schema, int64_t source) {
  return std::ranges::count_if(schema.patches, [&](const PatchRecord& p) {
    return p.source == source && p.split == Split::train;
  });
}

// No pixel in two splits, and class counts and coverage as a count by the formulas says.
void check_against_direct_count(const BuildOptions& o, const StoreSchema& schema) {
  CHECK(schema.patches.size() > 5000);
  std::array<std::vector<int64_t>, 3> counted;
  for (auto& counts : counted) counts.assign(4, 0);
  std::vector<std::vector<uint8_t>> use;
  for (const StoreSource& s : schema.sources)
    use.emplace_back(static_cast<size_t>(s.grid.width * s.grid.height));
  for (const PatchRecord& p : schema.patches) {
    const Grid& grid = schema.sources[static_cast<size_t>(p.source)].grid;
    int64_t labelled = 0;
    for (int64_t y = p.window.y; y < p.window.y + p.window.height; ++y)
      for (int64_t x = p.window.x; x < p.window.x + p.window.width; ++x) {
        const bool inside = x < grid.width && y < grid.height;
        const int64_t label = inside ? label_at(y, x) : ignore_label;
        ++counted[static_cast<size_t>(p.split)]
                 [label == ignore_label ? 3U : static_cast<size_t>(label)];
        labelled += label == ignore_label ? 0 : 1;
        if (inside)
          use[static_cast<size_t>(p.source)][static_cast<size_t>(y * grid.width + x)] |=
              static_cast<uint8_t>(1U << static_cast<unsigned>(p.split));
      }
    REQUIRE(static_cast<double>(labelled) >= o.sampling.min_coverage * 256);
  }
  CHECK(schema.class_pixels == counted);
  for (const auto& pixels : use)
    CHECK(std::ranges::count_if(pixels, [](uint8_t u) { return (u & (u - 1U)) != 0; }) == 0);
  for (const auto& counts : counted) CHECK(counts[0] + counts[1] + counts[2] > 10000);
}

TEST_CASE("build: a store of 5,000 patches reports what a direct count finds, by blocks",
          "[io][build]") {
  const TempFolder folder;
  BuildOptions o = options_for(folder, {write_scene(folder, "scene", 1270)});
  o.split.block = 80;
  o.sampling.min_coverage = 0.7;
  const StoreSchema schema = build_store(o);
  check_against_direct_count(o, schema);
  // The file says the same, and the labels in the store are those that were counted.
  const PatchStore store = PatchStore::open(o.out);
  CHECK(store.schema().class_pixels == schema.class_pixels);
  std::vector<int64_t> in_store(4);
  for (const int64_t i : store.indices(Split::test)) {
    const Tensor labels = store.labels(i);
    for (const uint8_t label : labels.span<uint8_t>())
      ++in_store[label == ignore_label ? 3U : label];
  }
  CHECK(in_store == schema.class_pixels[static_cast<size_t>(Split::test)]);
}

TEST_CASE("build: a store of 5,000 patches reports what a direct count finds, by scenes",
          "[io][build]") {
  const TempFolder folder;
  std::vector<LabelledScene> scenes;
  for (const char* name : {"a", "b", "c", "d"}) scenes.push_back(write_scene(folder, name, 630));
  BuildOptions o = options_for(folder, scenes);
  o.split.method = SplitOptions::Method::scene;
  o.split.valid = o.split.test = 0.25;
  check_against_direct_count(o, build_store(o));
}

TEST_CASE("build: nodata is counted band by band", "[io][build]") {
  const TempFolder folder;
  const LabelledScene labels = write_scene(folder, "labels", 50);
  const auto build = [&](std::vector<GeoTiffBand> bands) {
    write_raster<uint16_t>(folder / "s.tif", test_grid(50, 50), bands,
                           [](int64_t b, int64_t y, int64_t x) {
                             return (b == 0 && x < 10) || (b == 1 && y < 3) ? 7 : 100;
                           });
    BuildOptions o = options_for(folder, {{folder / "s.tif", labels.labels, Split::train}});
    o.sampling.patch = 25;
    o.sampling.min_coverage = 0;
    o.overwrite = true;
    return build_store(o).statistics;
  };
  const auto two = build({{"B1", 1, 0, 7.0}, {"B2", 1, 0, 7.0}});
  CHECK(two[0].pixels == 2500);
  CHECK(two[0].nodata == 500);
  CHECK(two[1].nodata == 150);
  CHECK(two[0].count == 2500 - 500 - 150 + 30);
  CHECK(two[0].nodata_share() == Approx(0.2));
  CHECK(PatchStore::open(folder / "store").schema().statistics == two);
  // Beyond the scene's edge all bands lack data, also those that have no value for it.
  write_raster<uint16_t>(folder / "t.tif", test_grid(50, 50), {{"B1"}},
                         [](int64_t, int64_t, int64_t) { return 5; });
  BuildOptions o = options_for(folder, {{folder / "t.tif", labels.labels, Split::train}});
  o.sampling.patch = 40;
  o.sampling.min_coverage = 0;
  o.overwrite = true;
  const BandStatistics s = build_store(o).statistics[0];
  CHECK(s.pixels == 6400);
  CHECK(s.nodata == 6400 - 2500);
  CHECK(s.count == 2500);
}

TEST_CASE("build: saturated samples are counted and survive a change of offset", "[io][build]") {
  StatisticsAccumulator band(DType::u16, 0.0, 65535.0);
  const std::vector<uint16_t> samples = {0, 5, 65535, 65535, 9};
  band.add(samples.data(), std::vector<uint8_t>{0, 1, 1, 0, 1}.data(), 5, 1);
  CHECK(band.result().nodata == 1);
  CHECK(band.result().saturated == 1);
  CHECK(band.result().saturated_share() == Approx(0.2));

  const TempFolder folder;
  write_raster<uint16_t>(folder / "s.tif", test_grid(2, 2), {{"B1", 1e-4, -0.1, 1.0}},
                         [](int64_t, int64_t y, int64_t x) { return y == 0 ? x + 1 : 65535; });
  const Scene scene = Scene::open(folder / "s.tif");
  StoreSchema schema;
  schema.sources = {{"first.tif"}};
  schema.bands = {{"B1", 0.0, 1e-4, 0.0, 65535.0}};
  schema.dtype = DType::u16;
  Raster raster = scene.read(scene.grid().whole());
  Conversion(schema, scene).apply(raster);
  const auto out = raster.image.span<uint16_t>();
  CHECK(out[0] == 0);  // nodata 1 becomes nodata 0
  CHECK(out[1] == 0);  // 2 - 1000, kept within the type
  CHECK(out[2] ==
        64535);  // 65535 is a sample like others where the scene does not call it saturated
}

TEST_CASE("build: a limit keeps each training patch with the same chance", "[io][build]") {
  std::vector<PlannedPatch> all;
  for (int64_t i = 0; i < 50; ++i)
    all.push_back({{i, 0, 1, 1}, i % 5 == 4 ? Split::test : Split::train});
  constexpr int runs = 400;
  std::map<int64_t, int> kept;
  for (uint64_t seed = 0; seed < runs; ++seed) {
    std::vector<PlannedPatch> a(all.begin(), all.begin() + 20), b(all.begin() + 20, all.end());
    const std::array lists = {&a, &b};
    limit_training(lists, 10, seed, 1);
    CHECK(std::ranges::is_sorted(b, {}, [](const PlannedPatch& p) { return p.window.x; }));
    a.insert(a.end(), b.begin(), b.end());
    CHECK(std::ranges::count(a, Split::test, &PlannedPatch::split) == 10);
    CHECK(a.size() == 20);
    for (const PlannedPatch& p : a) kept[p.window.x] += p.split == Split::train ? 1 : 0;
  }
  // Of 40 patches 10 are kept: 100 times each, with a deviation of 8.7.
  for (const PlannedPatch& p : all)
    if (p.split == Split::train) CHECK(std::abs(kept[p.window.x] - 100) < 45);
  std::vector<PlannedPatch> same = all;
  const std::array list = {&same};
  for (const int64_t most : {0, 40, 1000}) limit_training(list, most, 1, 1);
  CHECK(same == all);
}

// Products of several dates from one that is made up, and labels that fit them.
struct Products {
  TempFolder folder;
  fs::path labels = folder / "made" / "labels.tif";

  Products() {
    synth::SynthOptions o;
    o.folder = folder / "made";
    o.size = 66;
    o.product = true;
    synth::generate(o);
  }
  LabelledScene dated(const std::string& name, const std::string& time) const {
    const fs::path product = folder / (name + ".SAFE");
    fs::copy(folder / "made" / synth::product_name, product, fs::copy_options::recursive);
    for (const auto& entry : fs::recursive_directory_iterator(product)) {
      if (entry.path().filename() != "MTD_TL.xml") continue;
      std::string text = read_file(entry.path());
      const std::string made = "2020-01-01T00:00:00.000Z";
      REQUIRE(text.find(made) != std::string::npos);
      text.replace(text.find(made), made.size(), time);
      write_file(entry.path(), text);
    }
    return {product, labels, {}};
  }
  BuildOptions options(std::vector<LabelledScene> sources) const {
    BuildOptions o = options_for(folder, std::move(sources));
    o.classes.classes = {{0, "background"}, {1, "snow"}, {2, "clouds"}, {3, "water"}};
    o.scene.bands = {"B04"};
    o.sampling.patch = 11;
    o.overwrite = true;
    return o;
  }
};

TEST_CASE("build: dates of products divide scenes and limit patches", "[io][build]") {
  const Products p;
  const std::string may = "2022-05-03T10:00:00.024Z";
  const LabelledScene a = p.dated("a", may), b = p.dated("b", "2022-05-03T23:59:59Z"),
                      c = p.dated("c", "2022-06-02T10:00:00Z"),
                      d = p.dated("d", "2022-07-02T10:00:00Z");
  CHECK(Scene::open(a.scene).date() == "2022-05-03");

  BuildOptions o = p.options({a, c, b, d});
  o.split.method = SplitOptions::Method::date;
  o.split.valid = o.split.test = 0.3;
  const StoreSchema by_date = build_store(o);
  CHECK(by_date.sources[1].date == "2022-06-02");
  CHECK(PatchStore::open(o.out).schema().sources == by_date.sources);
  CHECK(PatchStore::open(o.out).schema().bands[0].saturated == 65535);
  std::map<std::string, std::set<Split>> splits;
  for (const PatchRecord& patch : by_date.patches)
    splits[by_date.sources[static_cast<size_t>(patch.source)].date].insert(patch.split);
  CHECK(splits.size() == 3);
  std::set<Split> all;
  for (const auto& [date, of_date] : splits) {
    CHECK(of_date.size() == 1);
    all.insert(of_date.begin(), of_date.end());
  }
  CHECK(all.size() == 3);

  for (LabelledScene& source : o.sources) source.split = Split::train;
  o.sampling.max_per_scene = 8;
  const StoreSchema by_scene = build_store(o);
  for (int64_t i = 0; i < 4; ++i) CHECK(training_patches(by_scene, i) == 8);
  o.sampling.max_per_date = 9;
  const StoreSchema limited = build_store(o);
  CHECK(training_patches(limited, 0) + training_patches(limited, 2) == 9);
  CHECK(training_patches(limited, 0) > 0);
  CHECK(training_patches(limited, 2) > 0);
  CHECK(training_patches(limited, 1) == 8);
  CHECK(build_store(o).patches == limited.patches);
  o.sampling.max_per_date = -1;
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("-1 a date"));

  // Appending knows which dates are there.
  o.sampling.max_per_date = 9;
  o.sources = {a, c};
  for (LabelledScene& source : o.sources) source.split = Split::train;
  build_store(o);
  o.overwrite = false;
  o.append = true;
  o.sources = {b};
  o.sources[0].split = Split::train;
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("2022-05-03") && Contains("a.SAFE"));
}

TEST_CASE("build: a date that is missing or none is named", "[io][build]") {
  const Products p;
  BuildOptions o = p.options({p.dated("a", "2022-05-03T10:00:00Z")});
  LabelledScene plain = write_scene(p.folder, "plain", 66);
  o.scene.bands.clear();
  o.sources = {plain, plain, plain};
  o.classes.classes = three_classes;
  o.split.method = SplitOptions::Method::date;
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("plain.tif") && Contains("split by date"));
  for (LabelledScene& source : o.sources) source.split = Split::train;
  o.sampling.max_per_date = 5;
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("plain.tif") && Contains("limit by date"));
  o = p.options({p.dated("b", "yesterday")});
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("MTD_TL.xml") && Contains("yesterday"));
  CHECK_FALSE(fs::exists(o.out));
}

TEST_CASE("build: the date of a real product", "[io][build][data]") {
  const auto data = real_data();
  if (!data) return;
  SceneOptions options;
  options.resolution = 60;
  for (const auto& entry : fs::directory_iterator(*data / "t29unu-l2a-n0400-safe"))
    if (entry.path().extension() == ".SAFE")
      CHECK(Scene::open(entry.path(), options).date() == "2022-10-05");
}

TEST_CASE("build: scenes that are added later give the bytes of one run", "[io][build]") {
  const TempFolder folder;
  const LabelledScene a = write_scene(folder, "a", 200, Split::train),
                      b = write_scene(folder, "b", 170, Split::valid),
                      c = write_scene(folder, "c", 230, Split::train),
                      d = write_scene(folder, "d", 100, Split::test);
  for (const bool blocks : {false, true}) {
    CAPTURE(blocks);
    BuildOptions o = options_for(folder, {a, b, c, d});
    o.split.block = 48;
    o.sampling.samples = 30;
    if (blocks)
      for (LabelledScene& source : o.sources) source.split.reset();
    const std::vector<LabelledScene> all = o.sources;
    o.out = folder / str("whole", blocks);
    build_store(o);
    o.out = folder / str("grown", blocks);
    o.sources = {all[0], all[1]};
    build_store(o);
    o.append = true;
    o.sources = {all[2]};
    build_store(o);
    const auto three = content(o.out);
    o.sources = {all[1], all[3]};  // one of them is there already
    std::map<std::string, int64_t> reported;
    build_store(o, [&](const std::string& what, int64_t done, int64_t total) {
      CHECK(done >= reported[what]);
      CHECK(done <= total);
      reported[what] = done;
    });
    CHECK(reported["patches of the store"] > 0);
    CHECK(reported["d: patches with their statistics"] > 0);
    CHECK_FALSE(reported.contains("b: labels"));
    const auto grown = content(o.out);
    CHECK(grown == content(folder / str("whole", blocks)));
    CHECK(grown != three);
    CHECK(grown.size() == 5);  // a shard, store.json and three pictures
    o.sources = all;
    build_store(o);
    CHECK(content(o.out) == grown);
  }
}

TEST_CASE("build: what does not fit a store is not added to it", "[io][build]") {
  const TempFolder folder;
  const LabelledScene a = write_scene(folder, "a", 100, Split::train);
  BuildOptions first = options_for(folder, {a});
  BuildOptions more = first;
  more.append = true;
  CHECK_THAT(refusal([&] { build_store(more); }), Contains("no patch store"));
  build_store(first);
  const auto before = content(first.out);
  more.sources = {write_scene(folder, "b", 100, Split::valid)};
  const auto refused = [&](auto&& change) {
    BuildOptions o = more;
    change(o);
    const std::string message = refusal([&] { build_store(o); });
    CHECK(content(first.out) == before);
    return message;
  };
  CHECK_THAT(refused([](BuildOptions& o) { o.sampling.patch = 20; }),
             Contains("patches of 16 pixels, not of 20"));
  CHECK_THAT(refused([](BuildOptions& o) { o.classes.classes.pop_back(); }),
             Contains("2=ice") && Contains("classes"));
  CHECK_THAT(refused([](BuildOptions& o) { o.scene.resampling = Resampling::cubic; }),
             Contains("--resampling bilinear, not cubic"));
  CHECK_THAT(refused([](BuildOptions& o) { o.scene.resolution = 10; }), Contains("--resolution 0"));
  CHECK_THAT(refused([](BuildOptions& o) { o.overwrite = true; }), Contains("not both"));
  CHECK_THAT(refused([](BuildOptions& o) {
               o.sources[0].split.reset();
               o.split.method = SplitOptions::Method::scene;
             }),
             Contains("depends on all of them"));
  CHECK_THAT(refused([&](BuildOptions& o) {
               o.sources = {a};
               o.sources[0].labels = folder / "b_labels.tif";
             }),
             Contains("a.tif already") && Contains("--overwrite"));
  write_raster<uint8_t>(folder / "two.tif", test_grid(100, 100), {{"grey"}, {"other"}},
                        [](int64_t, int64_t, int64_t) { return 1; });
  CHECK_THAT(refused([&](BuildOptions& o) { o.sources[0].scene = folder / "two.tif"; }),
             Contains("grey,other") && Contains("a.tif has grey"));
  write_raster<uint16_t>(folder / "wide.tif", test_grid(100, 100), {{"grey"}},
                         [](int64_t, int64_t, int64_t) { return 1; });
  CHECK_THAT(refused([&](BuildOptions& o) { o.sources[0].scene = folder / "wide.tif"; }),
             Contains("u16") && Contains("u8"));
  write_raster<uint8_t>(folder / "bad_labels.tif", test_grid(100, 100), {{""}},
                        [](int64_t, int64_t, int64_t) { return 77; });
  CHECK_THAT(refused([&](BuildOptions& o) { o.sources[0].labels = folder / "bad_labels.tif"; }),
             Contains("77"));
  BuildOptions same = more;  // by another name
  same.sources = {a};
  same.sources[0].scene = folder.path() / "." / "a.tif";
  CHECK(build_store(same).sources.size() == 1);
  CHECK(content(first.out) == before);
  // A scene that has grown since is not the one that was cut.
  write_scene(folder, "a", 120);
  CHECK_THAT(refused([&](BuildOptions& o) { o.sources = {a}; }), Contains("has changed since"));
  // A damaged store is not carried on.
  std::string shard = read_file(first.out / "shard-00000.safetensors");
  shard[shard.size() / 2] = static_cast<char>(shard[shard.size() / 2] ^ 1);
  write_file(first.out / "shard-00000.safetensors", shard);
  CHECK_THAT(refusal([&] { build_store(more); }), Contains("damaged"));
}

}  // namespace
}  // namespace unetd::io
