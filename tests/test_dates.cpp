// When a scene was sensed: as metadata state it or the caller says, and what a store does with it.
#include "engine/base/file.h"
#include "io/build_store.h"
#include "io/date.h"
#include "io/patch_store.h"
#include "io/scene.h"
#include "tests/support/rasters.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

TEST_CASE("date: of a text that is a date, with or without a time in UTC", "[io][date]") {
  for (const char* text :
       {"2022-10-05", "2022:10:05", "2022:10:05 11:33:19", "2022-10-05T11:33Z",
        "2022-10-05T11:33:19.024Z", "2022-10-05T11:33:19.024000+00:00", "2022-10-05 11:33:19"})
    CHECK(stated_date(text) == "2022-10-05");
  for (const char* text :
       {"", "yesterday", "2022", "20221005", "2022-10:05", "2022-13-05", "2023-02-29", "2022-10-00",
        "2022-10-05T", "2022-10-05 and more", "2022-10-05T23:00:00-08:00", " 2022-10-05"})
    CHECK_FALSE(stated_date(text).has_value());
  CHECK(stated_date("2024-02-29") == "2024-02-29");
}

// A raster whose metadata items are written beside it, as GDAL does.
void write_dated(const fs::path& path, const std::string& items) {
  write_raster<uint8_t>(path, test_grid(64, 64), {{"B02"}},
                        [](int64_t, int64_t y, int64_t x) { return 1 + (x + y) % 9; });
  write_file(path.string() + ".aux.xml", "<PAMDataset>" + items + "</PAMDataset>");
}

std::string item(const std::string& key, const std::string& value, const std::string& domain = "") {
  const std::string of = domain.empty() ? "" : " domain=\"" + domain + "\"";
  return "<Metadata" + of + "><MDI key=\"" + key + "\">" + value + "</MDI></Metadata>";
}

TEST_CASE("date: of rasters, by the items that name the acquisition", "[io][date]") {
  const TempFolder folder;
  const auto date = [&](const std::string& items) {
    write_dated(folder / "s.tif", items);
    return Scene::open(folder / "s.tif").date();
  };
  CHECK(date("").empty());
  CHECK(date(item("ACQUISITIONDATETIME", "2022-05-03 10:20:30", "IMAGERY")) == "2022-05-03");
  CHECK(date(item("ACQUISITION_DATE", "2022-05-04")) == "2022-05-04");
  // What the translation of a Sentinel-2 product keeps of its metadata.
  CHECK(date(item("DATATAKE_1_DATATAKE_SENSING_START", "2015-08-13T10:10:26.027Z")) ==
        "2015-08-13");
  CHECK(date(item("ACQUISITION_DATE", "May")).empty());
  // When the file was written says nothing about the scene, nor does its name.
  CHECK(date(item("TIFFTAG_DATETIME", "2022:05:03 10:20:30")).empty());
  SceneOptions given;
  given.date = "2021-01-02";
  const Scene scene = Scene::open(folder / "s.tif", given);
  CHECK(scene.date() == "2021-01-02");
  CHECK_THAT(describe(scene), Contains("; sensed 2021-01-02"));

  fs::create_directory(folder / "bands");
  const std::string may = item("ACQUISITION_DATE", "2022-05-04");
  write_dated(folder / "bands/T29_20220101_B02.tif", may);
  write_dated(folder / "bands/T29_20220101_B03.tif", may);
  CHECK(Scene::open(folder / "bands").date() == "2022-05-04");
  write_dated(folder / "bands/T29_20220101_B03.tif", item("ACQUISITION_DATE", "2022-05-05"));
  CHECK(Scene::open(folder / "bands").date().empty());
}

struct Dated {
  TempFolder folder;

  LabelledScene scene(const std::string& name, const std::string& date) const {
    write_dated(folder / (name + ".tif"), item("ACQUISITION_DATE", date));
    write_raster<uint8_t>(folder / (name + "_labels.tif"), test_grid(64, 64), {{""}},
                          [](int64_t, int64_t, int64_t x) { return x / 8 % 2; });
    return {folder / (name + ".tif"), folder / (name + "_labels.tif"), Split::train};
  }
  BuildOptions options(std::vector<LabelledScene> sources) const {
    BuildOptions o;
    o.sources = std::move(sources);
    o.classes.classes = {{0, "land"}, {1, "water"}};
    o.sampling.patch = 8;
    o.overwrite = true;
    o.out = folder / "store";
    return o;
  }
};

int64_t patches_of(const StoreSchema& schema, int64_t source) {
  return std::ranges::count(schema.patches, source, &PatchRecord::source);
}

TEST_CASE("date: given dates go before stated ones, and are the store's", "[io][date]") {
  const Dated dated;
  BuildOptions o = dated.options({dated.scene("a", "2022-05-03"), dated.scene("b", "2022-05-03"),
                                  dated.scene("c", "2022-06-01")});
  o.sampling.max_per_date = 20;
  const StoreSchema stated = build_store(o);
  CHECK(patches_of(stated, 0) + patches_of(stated, 1) == 20);
  CHECK(patches_of(stated, 2) == 20);
  o.sources[1].date = "2022-06-01";
  const StoreSchema given = build_store(o);
  CHECK(given.sources[1].date == "2022-06-01");
  CHECK(PatchStore::open(o.out).schema().sources == given.sources);
  CHECK(patches_of(given, 0) == 20);
  CHECK(patches_of(given, 1) + patches_of(given, 2) == 20);
}

TEST_CASE("date: a limit by date searches each scene once and changes nothing else", "[io][date]") {
  const Dated dated;
  BuildOptions o = dated.options({dated.scene("a", "2022-05-03"), dated.scene("b", "2022-05-03")});
  write_raster<uint8_t>(dated.folder / "a.tif", test_grid(64, 64), {{"B02", 1, 0, 0.0}},
                        [](int64_t, int64_t y, int64_t x) { return x + y < 20 ? 0 : 3; });
  for (LabelledScene& source : o.sources) {
    source.split.reset();
    source.date = "2022-05-03";
  }
  o.split.block = 16;
  o.sampling.min_coverage = 0.2;
  const auto build = [&](const char* out) {
    std::map<std::string, int64_t> ends;
    o.out = dated.folder / out;
    build_store(o, [&](const std::string& what, int64_t done, int64_t total) {
      ends[what] += done == total ? 1 : 0;
    });
    return ends;
  };
  std::map<std::string, int64_t> ends = build("free");
  CHECK(ends["a: labels"] == 1);
  o.sampling.max_per_date = 1000;
  ends = build("limited");
  for (const std::string scene : {"a", "b"}) {
    CHECK(ends[scene + ": search for pixels without data"] == 1);
    CHECK(ends[scene + ": plan of the patches"] == 1);
    CHECK(ends[scene + ": labels"] == 2);
    CHECK(ends[scene + ": patches with their statistics"] == 1);
  }
  for (const auto& entry : fs::directory_iterator(dated.folder / "free"))
    CHECK(read_file(entry.path()) == read_file(dated.folder / "limited" / entry.path().filename()));
}

TEST_CASE("build: a scene is searched where it is labelled", "[io][build]") {
  const TempFolder folder;
  write_raster<uint16_t>(folder / "s.tif", test_grid(300, 600), {{"B02"}},
                         [](int64_t, int64_t y, int64_t x) { return (x * 7919 + y * 31) % 9973; });
  write_raster<uint8_t>(
      folder / "l.tif", test_grid(300, 600), {{""}},
      [](int64_t, int64_t y, int64_t x) { return y < 200 && x >= 100 ? x / 10 % 2 : 255; });
  BuildOptions o;
  o.sources = {{folder / "s.tif", folder / "l.tif", Split::train}};
  o.classes = {{{0, "land"}, {1, "water"}}, {255}};
  o.sampling.patch = 20;
  o.out = folder / "whole";
  build_store(o);
  // Of the lower rows nothing is asked, so their damage does not matter; of the upper ones it does.
  const std::string bytes = read_file(folder / "s.tif");
  const auto damaged = [&](size_t at) {
    std::string changed = bytes;
    for (size_t i = at; i < at + 2000; ++i) changed[i] = static_cast<char>(i * 37);
    write_file(folder / "s.tif", changed);
    o.out = folder / "again";
    o.overwrite = true;
  };
  damaged(bytes.size() - 4000);
  CHECK_THAT(refusal([&] {
               Scene::open(folder / "s.tif").read({0, 0, 300, 600});
             }),
             Contains("s.tif"));
  build_store(o);
  CHECK(read_file(folder / "again/shard-00000.safetensors") ==
        read_file(folder / "whole/shard-00000.safetensors"));
  damaged(bytes.size() / 8);
  CHECK_THAT(refusal([&] { build_store(o); }), Contains("s.tif"));
}

}  // namespace
}  // namespace unetd::io
