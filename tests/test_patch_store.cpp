// Patch stores: built from scenes, read back whole, refused when damaged; splits that do not leak.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/tensor/safetensors.h"
#include "io/build_store.h"
#include "io/patch_store.h"
#include "tests/support/rasters.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>
#include <unistd.h>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

const std::vector<ClassInfo> classes = {{1, "land", "#886644"}, {2, "water", "#0044ff"}};

double sample(int64_t band, int64_t y, int64_t x) {
  if (x < 10 && y < 10) return 0;  // no data
  return static_cast<double>(1 + (band * 31 + y * 7 + x * 3) % 4000);
}

// A scene of two bands with a hole in its corner, and labels that change every 5 columns.
BuildOptions options_in(const TempFolder& folder, int64_t width = 200, int64_t height = 160) {
  write_raster<uint16_t>(folder / "scene.tif", test_grid(width, height),
                         {{"B02", 1, 0, 0.0}, {"B03", 1, 0, 0.0}}, sample);
  write_raster<uint8_t>(folder / "labels.tif", test_grid(width, height), {{""}},
                        [](int64_t, int64_t, int64_t x) { return 1 + x / 5 % 2; });
  BuildOptions o;
  o.sources = {{folder / "scene.tif", folder / "labels.tif", {}}};
  o.classes.classes = classes;
  o.sampling.patch = 20;
  o.split.block = 40;
  o.out = folder / "store";
  return o;
}

int64_t entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST_CASE("store: patches are the scene's pixels", "[io]") {
  const TempFolder folder;
  const BuildOptions o = options_in(folder);
  int64_t reported = -1;  // each stage begins with 0
  std::vector<std::string> stages;
  build_store(o, [&](const std::string& what, int64_t done, int64_t total) {
    CHECK(done <= total);
    if (stages.empty() || stages.back() != what) stages.push_back(what);
    if (stages.size() == 4) CHECK(done == ++reported);
  });
  CHECK(stages == std::vector<std::string>{"scene: labels", "scene: search for pixels without data",
                                           "scene: plan of the patches",
                                           "scene: patches with their statistics"});
  const PatchStore store = PatchStore::open(o.out);
  const StoreSchema& schema = store.schema();
  CHECK(schema.patch == 20);
  CHECK(schema.dtype == DType::u16);
  CHECK(schema.classes == classes);
  CHECK(std::ssize(schema.patches) == reported);
  CHECK(schema.sources[0].scene_bytes == static_cast<int64_t>(fs::file_size(folder / "scene.tif")));
  store.verify();
  int64_t ignored = 0;
  for (int64_t i = 0; i < reported; ++i) {
    const Window& w = schema.patches[static_cast<size_t>(i)].window;
    const PatchView view = store.view(i);
    REQUIRE(view.valid != nullptr);
    for (int64_t p = 0; p < 400; ++p) {
      const int64_t y = w.y + p / 20, x = w.x + p % 20;
      const bool hole = sample(0, y, x) == 0;
      std::array<uint16_t, 2> pixel{};
      std::memcpy(pixel.data(), view.image + p * 4, 4);
      REQUIRE(pixel[0] == sample(0, y, x));
      REQUIRE(pixel[1] == sample(1, y, x));
      REQUIRE(view.valid[p] == (hole ? 0 : 1));
      REQUIRE(view.label[p] == (hole ? 255 : x / 5 % 2));
      ignored += hole ? 1 : 0;
    }
  }
  int64_t counted = 0, counted_ignored = 0;
  for (const auto& counts : schema.class_pixels) {
    for (const int64_t count : counts) counted += count;
    counted_ignored += counts.back();
  }
  CHECK(counted == reported * 400);
  CHECK(counted_ignored == ignored);
}

TEST_CASE("store: statistics are those of the valid training pixels", "[io]") {
  const TempFolder folder;
  const BuildOptions o = options_in(folder);
  const StoreSchema schema = build_store(o);
  std::vector<double> values;
  for (const PatchRecord& patch : schema.patches)
    for (int64_t p = 0; patch.split == Split::train && p < 400; ++p) {
      const double v = sample(1, patch.window.y + p / 20, patch.window.x + p % 20);
      if (v != 0) values.push_back(v);
    }
  std::sort(values.begin(), values.end());
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) squares += (v - sum / n) * (v - sum / n);
  const BandStatistics& s = schema.statistics[1];
  CHECK(s.count == std::ssize(values));
  CHECK(s.min == values.front());
  CHECK(s.max == values.back());
  CHECK(s.mean == Approx(sum / n).epsilon(1e-12));
  CHECK(s.stddev == Approx(std::sqrt(squares / n)).epsilon(1e-12));
  for (const double percent : {1.0, 50.0, 99.0})
    CHECK(s.percentile(percent) == values[static_cast<size_t>(percent / 100 * (n - 1))]);
  // store.json carries them without loss.
  CHECK(PatchStore::open(o.out).schema().statistics == schema.statistics);
}

TEST_CASE("store: percentiles of floats need no range beforehand", "[io]") {
  StatisticsAccumulator accumulator(DType::f32);
  std::vector<float> values;
  for (int i = 0; i <= 10000; ++i) values.push_back(static_cast<float>(i - 3000) / 10);
  values.push_back(1e30F);
  const std::vector<uint8_t> valid(values.size(), 1);
  accumulator.add(values.data(), valid.data(), std::ssize(values), 1);
  const BandStatistics s = accumulator.result();
  CHECK(s.min == -300);
  CHECK(s.max == Approx(1e30));
  CHECK(s.percentile(1) == Approx(-290).epsilon(0.01));
  CHECK(s.percentile(50) == Approx(200).epsilon(0.01));
  CHECK(s.percentile(99) == Approx(690).epsilon(0.01));
}

TEST_CASE("store: the same inputs give the same bytes", "[io]") {
  const TempFolder folder;
  BuildOptions o = options_in(folder);
  o.sampling.samples = 30;
  build_store(o);
  o.out = folder / "again";
  build_store(o);
  for (const auto& entry : fs::directory_iterator(folder / "store"))
    CHECK(read_file(entry.path()) == read_file(folder / "again" / entry.path().filename()));
  CHECK(entries(folder / "store") == entries(folder / "again"));
}

TEST_CASE("store: blocks keep the splits apart", "[io]") {
  const TempFolder folder;
  BuildOptions o = options_in(folder);
  for (const int64_t samples : {0, 40}) {
    o.sampling.samples = samples;
    o.sampling.stride = 10;  // overlapping training windows, some of which cross blocks
    o.overwrite = true;
    const StoreSchema schema = build_store(o);
    std::map<Split, int64_t> patches;
    std::map<std::pair<int64_t, int64_t>, std::set<Split>> splits_of_block;
    for (const PatchRecord& p : schema.patches) {
      ++patches[p.split];
      for (const int64_t y : {p.window.y, p.window.y + 19})
        for (const int64_t x : {p.window.x, p.window.x + 19})
          splits_of_block[{y / 40, x / 40}].insert(p.split);
    }
    CHECK(patches.size() == 3);
    if (samples > 0) CHECK(patches[Split::train] == samples);
    for (const auto& [block, splits] : splits_of_block) CHECK(splits.size() == 1);
    for (const PatchRecord& a : schema.patches)
      for (const PatchRecord& b : schema.patches)
        if (a.split != b.split) REQUIRE_FALSE(a.window.touches(b.window));
  }
}

TEST_CASE("store: windows cover a scene that patches do not divide", "[io]") {
  Grid grid;
  grid.width = 50;
  grid.height = 41;
  std::vector<int> covered(2050);
  for (const Window& w : grid_windows(grid, 20, 20)) {
    const Window inner = intersection(w, grid.whole());
    for (int64_t y = inner.y; y < inner.y + inner.height; ++y)
      for (int64_t x = inner.x; x < inner.x + inner.width; ++x) ++covered[y * 50 + x];
  }
  CHECK(std::count(covered.begin(), covered.end(), 1) == std::ssize(covered));
  grid.width = 40;
  CHECK(grid_windows(grid, 20, 10).size() == 12);  // 3 rows of 4: no window that repeats an edge
}

TEST_CASE("store: listed tiles are taken as they are, training keeps off the others", "[io]") {
  const TempFolder folder;
  BuildOptions o = options_in(folder);
  o.split.method = SplitOptions::Method::list;
  o.split.list = folder / "tiles.csv";
  write_file(o.split.list,
             "name,split,x,y,size\na,train,20,20,20\nb,train,40,20,20\nc,val,100,100,20\r\n"
             "d,test,140,0,20\n");
  const StoreSchema exact = build_store(o);
  CHECK(exact.patches.size() == 4);
  CHECK(exact.patches[3] == PatchRecord{0, {100, 100, 20, 20}, Split::valid});

  o.overwrite = true;
  o.sampling.samples = 25;
  build_store(o);
  const PatchStore store = PatchStore::open(o.out);
  CHECK(store.indices(Split::train).size() == 25);
  CHECK(store.indices(Split::valid).size() == 1);
  const Window tiles{20, 20, 40, 20};
  for (const int64_t i : store.indices(Split::train)) {
    const Window& w = store.schema().patches[static_cast<size_t>(i)].window;
    CHECK_FALSE(w.touches({100, 100, 20, 20}));
    CHECK_FALSE(w.touches({140, 0, 20, 20}));
    for (int64_t p = 0; p < 400; ++p) {
      const int64_t x = w.x + p % 20, y = w.y + p / 20;
      REQUIRE(store.view(i).label[p] ==
              (tiles.contains({x, y, 1, 1}) ? x / 5 % 2 : int64_t{ignore_label}));
    }
  }
}

TEST_CASE("store: tile lists with mistakes name the line", "[io]") {
  const TempFolder folder;
  const fs::path path = folder / "tiles.csv";
  const auto refused = [&](const std::string& text) {
    write_file(path, text);
    return refusal([&] { read_tile_list(path); });
  };
  CHECK_THAT(refused("x,y,split\n"), Contains("'size'"));
  CHECK_THAT(refused("x,y,size,split\n"), Contains("lists no tile"));
  CHECK_THAT(refused("x,y,size,split\n0,0,20,train\n0,b,20,train\n"), Contains("line 3"));
  CHECK_THAT(refused("x,y,size,split\n0,0,20\n"), Contains("line 2") && Contains("split"));
  CHECK_THAT(refused("x,y,size,split\n0,0,20,holdout\n"), Contains("holdout"));
  CHECK_THAT(refused("x,y,size,split\n0,0,20,train\n0,0,30,train\n"), Contains("line 3"));
  CHECK_THAT(refused("x,y,size,split\n0,0,20,train\n10,10,20,test\n"), Contains("overlap"));
}

TEST_CASE("store: several scenes, each in the split it is given or dealt", "[io]") {
  const TempFolder folder;
  BuildOptions o = options_in(folder, 40, 40);
  const LabelledScene source = o.sources[0];
  o.sources = {source, source, source};
  o.sources[0].split = Split::test;
  CHECK_THROWS_AS(build_store(o), UsageError);
  o.sources[1].split = Split::train;
  o.sources[2].split = Split::valid;
  const StoreSchema given = build_store(o);
  for (const PatchRecord& p : given.patches)
    CHECK(p.split == *o.sources[static_cast<size_t>(p.source)].split);

  for (LabelledScene& s : o.sources) s.split.reset();
  o.split.method = SplitOptions::Method::scene;
  o.overwrite = true;
  std::map<int64_t, std::set<Split>> dealt;
  for (const PatchRecord& p : build_store(o).patches) dealt[p.source].insert(p.split);
  std::set<Split> all;
  for (const auto& [scene, splits] : dealt) {
    CHECK(splits.size() == 1);
    all.insert(*splits.begin());
  }
  CHECK(all.size() == 3);
  o.sources.pop_back();
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("2 scenes"));
}

TEST_CASE("store: scenes that store the same reflectance differently are brought together",
          "[io]") {
  const TempFolder folder;
  BuildOptions o = options_in(folder, 20, 20);
  for (const double offset : {0.0, -0.1})
    write_raster<uint16_t>(
        folder / str("s", offset, ".tif"), test_grid(20, 20), {{"B02", 1e-4, offset, 0.0}},
        [&](int64_t, int64_t y, int64_t x) { return y == 0 ? 0 : 100 * x - 10000 * offset; });
  o.sources = {{folder / "s0.tif", folder / "labels.tif", Split::train},
               {folder / "s-0.1.tif", folder / "labels.tif", Split::train}};
  build_store(o);
  const PatchStore store = PatchStore::open(o.out);
  for (int64_t i = 20; i < 400; ++i) {
    std::array<uint16_t, 2> pair{};
    for (const int64_t patch : {0, 1})
      std::memcpy(&pair[static_cast<size_t>(patch)], store.view(patch).image + 2 * i, 2);
    // DN 0 of the first scene is its nodata; there is none in the other.
    if (pair[0] != 0) CHECK(pair[0] == pair[1]);
  }
  o.overwrite = true;
  o.sources[1].scene = folder / "scene.tif";
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("B02,B03") && Contains("--bands"));
}

TEST_CASE("store: nothing usable, nothing writable, nothing half-written", "[io]") {
  const TempFolder folder;
  BuildOptions o = options_in(folder);
  const int64_t before = entries(folder.path());
  o.sampling.min_coverage = 1.1;
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("no patch"));
  o.sampling.min_coverage = 0.5;
  o.classes.classes.pop_back();
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("labels.tif") && Contains("2 ("));
  o.classes.classes = classes;
  o.out = folder / "absent" / "store";
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("cannot write"));
  if (::geteuid() != 0) {  // root may write anywhere
    fs::create_directory(folder / "locked");
    fs::permissions(folder / "locked", fs::perms::owner_read | fs::perms::owner_exec);
    o.out = folder / "locked" / "store";
    CHECK_THAT(refusal([&] { build_store(o); }), Contains("cannot write"));
    fs::remove(folder / "locked");
  }
  o.out = folder / "scene.tif";
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("no patch store"));
  CHECK(entries(folder.path()) == before);

  // A store is replaced only on demand, and survives a failed attempt.
  o.out = folder / "store";
  build_store(o);
  const std::string json = read_file(o.out / "store.json");
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("--overwrite"));
  o.overwrite = true;
  o.sampling.min_coverage = 1.1;
  CHECK_THROWS_AS(build_store(o), UserError);
  CHECK(read_file(o.out / "store.json") == json);
  o.sampling.min_coverage = 0.5;
  build_store(o);
  CHECK(read_file(o.out / "store.json") == json);
  CHECK(entries(folder.path()) == before + 1);
  // A folder of something else is never replaced.
  write_file(folder / "store" / "note.txt", "mine");
  fs::remove(o.out / "store.json");
  CHECK_THROWS_AS(build_store(o), UserError);
}

TEST_CASE("store: damage is found when it is opened or first touched", "[io]") {
  const TempFolder folder;
  const BuildOptions o = options_in(folder);
  build_store(o);
  const fs::path json = o.out / "store.json", shard = o.out / "shard-00000.safetensors";
  const std::string good_json = read_file(json), good_shard = read_file(shard);
  const auto message = [&] {
    return refusal([&] {
      const PatchStore store = PatchStore::open(o.out);
      store.view(0);
    });
  };
  CHECK_THAT(refusal([&] { PatchStore::open(folder.path()); }), Contains("no patch store"));
  for (const size_t part : {0, 1, 10, 100, 1000}) {
    write_file(json, good_json.substr(0, good_json.size() * part / 1001));
    CHECK_THAT(message(), Contains("store.json is damaged"));
  }
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good_json;
    text.replace(text.find(from), from.size(), to);
    write_file(json, text);
    return message();
  };
  CHECK_THAT(replaced("\"version\": 3", "\"version\": 2"),
             Contains("version 2") && Contains("build the store again"));
  CHECK_THAT(replaced("\"u16\"", "\"u99\""), Contains("u99"));
  CHECK_THAT(replaced("\"u16\"", "\"f32\""), Contains("does not fit"));
  CHECK_THAT(replaced("shard-00000", "../../shard"), Contains("damaged"));
  CHECK_THAT(replaced("\"patch\": 20", "\"patch\": 40"), Contains("does not fit"));
  write_file(json, good_json);
  CHECK_NOTHROW(PatchStore::open(o.out).view(0));

  // A patch's bytes lie in three places. Whoever asks for the patch hears of a wrong bit in any of
  // them, as often as it asks, and the others are what they were.
  const SafeTensorsFile tensors(shard);
  const std::span<const std::byte> whole = tensors.bytes("image");
  const auto patches = static_cast<int64_t>(tensors.info("image").shape[0]);
  const auto per_patch = static_cast<int64_t>(whole.size()) / patches;
  const auto header =
      static_cast<size_t>(good_shard.size() - whole.size() - tensors.bytes("label").size() -
                          tensors.bytes("valid").size());
  const size_t labels = header + whole.size(), valid = labels + tensors.bytes("label").size();
  for (const size_t at :
       {header + static_cast<size_t>(3 * per_patch), labels + 3 * 400 + 17, valid + 4 * 400 - 1}) {
    std::string flipped = good_shard;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    write_file(shard, flipped);
    const PatchStore store = PatchStore::open(o.out);
    for (int64_t i = 0; i < patches; ++i) {
      if (i == 3) {
        for (int again = 0; again < 2; ++again)
          CHECK_THAT(refusal([&] { store.view(i); }),
                     Contains("shard-00000.safetensors is damaged") &&
                         Contains("checksum of its patch 3, number 3 of the store"));
      } else {
        CHECK_NOTHROW(store.view(i));
      }
    }
    CHECK_THAT(refusal([&] { store.verify(); }), Contains("patch 3"));
  }
  write_file(shard, good_shard.substr(0, good_shard.size() / 2));
  CHECK_THAT(message(), Contains("shard-00000"));
  fs::remove(shard);
  CHECK_THAT(message(), Contains("shard-00000"));
}

TEST_CASE("store: patches of another size or type are refused when written", "[io]") {
  const TempFolder folder;
  StoreSchema schema;
  schema.patch = 4;
  schema.dtype = DType::u8;
  schema.bands = {{"B1", {}, 1, 0}};
  schema.classes = classes;
  schema.sources = {{}};
  PatchStoreWriter writer(folder / "store", schema, false);
  const auto add = [&](int64_t side, int64_t bands, DType dtype, uint8_t label) {
    Raster raster{Tensor({1, side, side, bands}, dtype), Tensor({1, side, side, 1}, DType::u8)};
    std::ranges::fill(raster.valid.span<uint8_t>(), uint8_t{1});
    Tensor labels({1, side, side, 1}, DType::u8);
    std::ranges::fill(labels.span<uint8_t>(), label);
    writer.add({0, {0, 0, side, side}, Split::train}, raster, std::move(labels));
  };
  CHECK_THROWS_AS(add(5, 1, DType::u8, 0), Error);
  CHECK_THROWS_AS(add(4, 2, DType::u8, 0), Error);
  CHECK_THROWS_AS(add(4, 1, DType::u16, 0), Error);
  CHECK_THROWS_AS(add(4, 1, DType::u8, 2), Error);
  add(4, 1, DType::u8, 1);
  writer.finish();
  CHECK(PatchStore::open(folder / "store").view(0).valid == nullptr);
}

TEST_CASE("store: the real scene by its list of tiles", "[io][data]") {
  const auto data = real_data();
  if (!data) return;
  const TempFolder folder;
  const fs::path scene = *data / "t29unu-60m-geotiff";
  BuildOptions o;
  o.sources = {{scene / "scene_11b_60m.tif", scene / "mask_5class_60m.tif", {}}};
  o.classes = {{{0, "land"}, {1, "water"}, {2, "shadow"}, {3, "cloud"}, {4, "cirrus"}}, {255}};
  o.sampling.patch = 128;
  o.split.method = SplitOptions::Method::list;
  o.split.list = scene / "tiles_128.csv";
  o.out = folder / "store";
  build_store(o);
  const PatchStore store = PatchStore::open(o.out);
  CHECK(store.indices(Split::train).size() == 76);
  CHECK(store.indices(Split::valid).size() == 18);
  CHECK(store.indices(Split::test).size() == 25);
  CHECK(store.schema().bands[7].name == "B8A");
  CHECK(store.schema().bands[0].offset == Approx(-0.1));
  // The list's own count of the first tile's land pixels.
  const PatchView first = store.view(0);
  CHECK(std::count(first.label, first.label + 16384, 0) == 11275);
}

TEST_CASE("store: real pairs of images and masks by stem", "[io][data]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path forest = *data / "amazon-forest-rgb";
  CHECK(pair_by_stem(forest / "train/images", forest / "train/masks", Split::train).size() == 29);
  CHECK_THAT(refusal([&] { pair_by_stem(forest / "train/images", forest / "val/masks", {}); }),
             Contains("no label raster"));
}

}  // namespace
}  // namespace unetd::io
