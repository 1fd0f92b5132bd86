// unetd-tile by its command line: tables and JSON of what it wrote, limits, dates, --append.
#include "engine/base/file.h"
#include "tests/support/rasters.h"
#include "tests/support/run_program.h"
#include "tests/support/temp_folder.h"

#include <filesystem>
#include <string>
#include <tuple>

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

// Target rasters beside the scenes: whole numbers of half metres, none in the upper rows.
struct TargetScenes : Scenes {
  TargetScenes() {
    for (const char* name : {"a", "b"})
      io::write_raster<uint8_t>(folder / (std::string(name) + "_height.tif"),
                                io::test_grid(120, 120), {{"", 0.5, 0, 255.0}},
                                [](int64_t, int64_t y, int64_t x) {
                                  return y < 20 ? 255 : x < 60 ? 7 : 10;
                                });
  }
  std::string height_pair(const std::string& name) const {
    return (folder / (name + ".tif")).string() + "=" + (folder / (name + "_height.tif")).string();
  }
  std::string target(const std::string& more) const {
    return "unetd-tile --quiet --target canopy:m --patch 10 --out " + store + " " + more;
  }
};

TEST_CASE("unetd-tile --target stores numbers and says what they are", "[programs]") {
  const TargetScenes s;
  const ProgramResult tables =
      run_program(s.target("--train " + s.height_pair("a") + " --valid " + s.height_pair("b")));
  INFO(tables.err);
  REQUIRE(tables.code == 0);
  CHECK_THAT(tables.out, Contains("training targets  pixels  min  mean  deviation  max"));
  CHECK_THAT(tables.out, Contains("canopy (m)        12,000  3.5  4.25       0.75    5"));
  CHECK_THAT(tables.out, Contains("canopy"));
  CHECK(fs::file_size(fs::path(s.store) / "target.png") > 500);

  const ProgramResult info = run_program("unetd-info store --json " + s.store);
  INFO(info.err);
  const auto facts = nlohmann::json::parse(info.out);
  const auto& target = facts["target"];
  CHECK(target["name"] == "canopy");
  CHECK(target["unit"] == "m");
  CHECK(target["count"] == 12000);
  CHECK(target["min"] == 3.5);
  CHECK(target["max"] == 5.0);
  CHECK(target["mean"].get<double>() == Approx(4.25));
  CHECK(target["stddev"].get<double>() == Approx(0.75));
  CHECK(facts["valid"]["pixels"]["canopy"] == 12000);

  const ProgramResult more =
      run_program(s.target("--json --ignore 7,0.5 --overwrite --train " + s.height_pair("a")));
  REQUIRE(more.code == 0);
  const auto json = nlohmann::json::parse(more.out);
  CHECK(json["target"]["count"] == 6000);
  CHECK(json["target"]["min"] == 5.0);
  CHECK(json["splits"]["train"]["pixels"]["canopy"] == 6000);

  const ProgramResult added =
      run_program(s.target("--ignore 7 --append --json --train " + s.height_pair("b")));
  REQUIRE(added.code == 0);
  CHECK(nlohmann::json::parse(added.out)["target"]["count"] == 12000);
}

TEST_CASE("unetd-tile --target refuses what belongs to classes, in one line", "[programs]") {
  const TargetScenes s;
  const std::string scene = (s.folder / "a.tif").string();
  const std::string plain = "unetd-tile --quiet --out " + s.store + " ";
  for (const auto& [command, code, about] :
       {std::tuple{plain + "--train " + s.height_pair("a"), 2, "one of --classes"},
        {s.target("--classes 0=land --train " + s.height_pair("a")), 2, "one of --classes"},
        {s.target("--samples 9 --balance 1,2 --train " + s.height_pair("a")), 2,
         "2 shares are for so many classes"},
        {s.target("--labels SCL " + scene), 2, "classification of a product"},
        {s.target("--labels rules " + scene), 2, "rules for classes"},
        {s.target("--labels " + (s.folder / "f.gpkg").string() + " " + scene), 2, "are vectors"},
        {s.target("--ignore 7,x --train " + s.height_pair("a")), 2, "--ignore: 'x' is no number"},
        {plain + "--target :m --train " + s.height_pair("a"), 2, "give its name"}}) {
    const ProgramResult refused = run_program(command);
    INFO(command << "\n" << refused.err);
    CHECK(refused.code == code);
    CHECK(refused.complains(about));
    CHECK_FALSE(fs::exists(s.store));
  }
  CHECK(run_program(s.target("--samples 9 --balance equal --train " + s.height_pair("a"))).code ==
        0);
}

}  // namespace
}  // namespace unetd
