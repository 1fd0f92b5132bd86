// unetd-tile by its command line: tables and JSON of what it wrote, limits, dates, --append.
#include "engine/base/file.h"
#include "tests/support/rasters.h"
#include "tests/support/run_program.h"
#include "tests/support/temp_folder.h"

#include <filesystem>
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

struct Scenes {
  TempFolder folder;
  std::string store = (folder / "store").string();

  Scenes() {
    for (const char* name : {"a", "b"}) {
      io::write_raster<uint16_t>(folder / (std::string(name) + ".tif"), io::test_grid(120, 120),
                                 {{"B02", 1, 0, 0.0}, {"B03", 1, 0, 0.0}},
                                 [](int64_t band, int64_t y, int64_t x) {
                                   return band == 1 && y < 12 ? 0 : 100 + x + 2 * y;
                                 });
      io::write_raster<uint8_t>(folder / (std::string(name) + "_labels.tif"),
                                io::test_grid(120, 120), {{""}},
                                [](int64_t, int64_t, int64_t x) { return x < 30 ? 1 : 0; });
    }
  }
  std::string pair(const std::string& name) const {
    return (folder / (name + ".tif")).string() + "=" + (folder / (name + "_labels.tif")).string();
  }
  std::string tile(const std::string& more, int patch = 10) const {
    return "unetd-tile --quiet --classes 0=land,1=water --patch " + std::to_string(patch) +
           " --out " + store + " " + more;
  }
};

TEST_CASE("unetd-tile prints classes of each split and statistics of each band", "[programs]") {
  const Scenes s;
  const ProgramResult tables =
      run_program(s.tile("--train " + s.pair("a") + " --valid " + s.pair("b")));
  INFO(tables.err);
  REQUIRE(tables.code == 0);
  // One of twelve rows of patches lacks data, and of the next, two rows of ten pixels do.
  CHECK_THAT(tables.out, Contains("land                    9,720  75.0 %  9,720  75.0 %     0"));
  CHECK_THAT(tables.out, Contains("ignored                   240       -"));
  CHECK_THAT(tables.out, Contains("nodata  saturated"));
  CHECK_THAT(tables.out,
             Contains("B03               124  145  290.5    71.3273   436  457   1.8 %"));
  for (const char* file : {"statistics.png", "overview.png", "classes.png"})
    CHECK(fs::file_size(fs::path(s.store) / file) > 500);

  const ProgramResult listed = run_program(s.tile("--json --overwrite --max-per-scene 7 --train " +
                                                  s.pair("a") + " --train " + s.pair("b")));
  REQUIRE(listed.code == 0);
  const auto json = nlohmann::json::parse(listed.out);
  CHECK(json["splits"]["train"]["patches"] == 14);
  CHECK(json["bands"][0]["nodata_share"] == 0.0);
  CHECK(json["bands"][1]["nodata_share"] > 0.0);
  CHECK_FALSE(json["bands"][0].contains("saturated_share"));
}

TEST_CASE("unetd-tile --date says when scenes were sensed", "[programs]") {
  const Scenes s;
  const ProgramResult given =
      run_program("unetd-tile --classes 0=land,1=water --patch 10 --max-per-date 9 --json --out " +
                  s.store + " --date a=2022-05-03 --date " + (s.folder / "b.tif").string() +
                  "=2022-05-03 --train " + s.pair("a") + " --train " + s.pair("b"));
  INFO(given.err);
  REQUIRE(given.code == 0);
  CHECK(nlohmann::json::parse(given.out)["splits"]["train"]["patches"] == 9);
  CHECK_THAT(given.err, Contains("a.tif: ") && Contains("; sensed 2022-05-03"));
  CHECK_THAT(given.err, Contains("a: search for pixels without data 100%"));
}

TEST_CASE("unetd-tile --append adds scenes", "[programs]") {
  const Scenes s;
  REQUIRE(run_program(s.tile("--train " + s.pair("a"))).code == 0);
  const ProgramResult added =
      run_program(s.tile("--append --json --train " + s.pair("a") + " --valid " + s.pair("b")));
  INFO(added.err);
  REQUIRE(added.code == 0);
  CHECK_THAT(added.err, Contains("has") && Contains("a.tif already"));
  const auto json = nlohmann::json::parse(added.out);
  CHECK(json["splits"]["train"]["patches"] == json["splits"]["valid"]["patches"]);
  const std::string before = read_file(fs::path(s.store) / "store.json");
  const ProgramResult again = run_program(s.tile("--append --train " + s.pair("a")));
  CHECK(again.code == 0);
  CHECK_THAT(again.err, Contains("all these scenes"));

  fs::create_directory(s.folder / "other");
  fs::copy_file(s.folder / "b.tif", s.folder / "other/b.tif");
  const std::string other_b =
      (s.folder / "other/b.tif").string() + "=" + (s.folder / "b_labels.tif").string();
  const ProgramResult other = run_program(s.tile("--append --train " + s.pair("b"), 12));
  CHECK(other.code == 1);
  CHECK(other.complains("has patches of 10 pixels, not of 12"));
  for (const auto& [arguments, code, about] :
       {std::tuple{"--append --overwrite --train " + s.pair("b"), 2, "not both"},
        {"--append --split date " + (s.folder / "b.tif").string() + " --labels " +
             (s.folder / "a_labels.tif").string(),
         1, "b.tif already"},
        {"--overwrite --split date " + (s.folder / "b.tif").string() + " --labels " +
             (s.folder / "a_labels.tif").string(),
         1, "no date"},
        {"--overwrite --max-per-date 4 --train " + s.pair("b"), 1, "no date"},
        {"--overwrite --date b --train " + s.pair("b"), 2, "SCENE=YYYY-MM-DD"},
        {"--overwrite --date b=2022-02-30 --train " + s.pair("b"), 2, "b=2022-02-30"},
        {"--overwrite --date c=2022-02-03 --train " + s.pair("b"), 2, "no scene is called 'c'"},
        {"--overwrite --date b=2022-02-03 --train " + s.pair("b") + " --valid " + other_b, 2,
         "are both called 'b': give their paths"},
        {"--overwrite --max-per-scene -1 --train " + s.pair("b"), 2, "not negative"}}) {
    const ProgramResult refused = run_program(s.tile(arguments));
    INFO(arguments << "\n" << refused.err);
    CHECK(refused.code == code);
    CHECK(refused.complains(about));
    CHECK(read_file(fs::path(s.store) / "store.json") == before);
  }
}

}  // namespace
}  // namespace unetd
