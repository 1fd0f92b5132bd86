// unetd-bench io: what it says it read is what there is to read.
#include "engine/base/file.h"
#include "tests/support/run_program.h"
#include "tests/support/workshop.h"

#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

TEST_CASE("unetd-bench io measures the disk, the loader and decoding", "[programs]") {
  const std::string safe = workshop().at("bench_safe");
  REQUIRE(run_program("unetd-synth --quiet --size 120 --seed 5 --product --out " + safe).code == 0);
  fs::path product;
  for (const auto& entry : fs::directory_iterator(safe))
    if (entry.path().extension() == ".SAFE") product = entry.path();
  const std::string common = "unetd-bench io --readers 1,2 --batch 2 --seconds 0.05 --data " +
                             workshop().store + " --scene " + product.string();
  const ProgramResult run = run_program(common + " --json -");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto result = nlohmann::json::parse(run.out);
  std::vector<std::string> names;
  for (const auto& rate : result.at("rates")) {
    names.push_back(rate.at("name"));
    CHECK(rate.at("items").get<double>() > 0);
    CHECK(rate.at("seconds").get<double>() > 0);
    CHECK(rate.at("bytes").get<double>() > 0);
  }
  CHECK(names == std::vector<std::string>{
                     "disk, cold, 1 thread", "disk, cached, 1 thread", "loader, cold, 1 thread",
                     "loader, cold, 2 threads", "loader, cached, 1 thread",
                     "loader, augmented, 1 thread", "loader, cached, 2 threads",
                     "loader, augmented, 2 threads", "decoding, 1 thread", "decoding, 2 threads"});
  double shards = 0;
  for (const auto& entry : fs::directory_iterator(workshop().store))
    if (entry.path().extension() == ".safetensors")
      shards += static_cast<double>(entry.file_size());
  CHECK(result.at("rates").at(0).at("bytes") == shards);
  CHECK(result.at("rates").at(8).at("items") == 120 * 120 / 1e6);
  const double kept = result.at("kept_in_memory");
  CHECK(kept >= 0);
  CHECK(kept <= 1);
  // Two results compare row by row.
  const std::string file = workshop().at("io.json");
  write_file(file, run.out);
  CHECK_THAT(run_program("unetd-bench compare " + file + " " + file).out,
             Contains("1.00 x") && Contains("decoding, 2 threads"));
}

TEST_CASE("unetd-bench io refuses what it cannot measure", "[programs]") {
  CHECK(run_program("unetd-bench io").complains("give --data, --scene or both"));
  CHECK(run_program("unetd-bench io --data " + workshop().at("none")).complains("no patch store"));
  CHECK(run_program("unetd-bench io --scene " + workshop().at("none.jp2")).complains("none.jp2"));
  for (const char* readers : {"0", "1,", "two", "1;2"}) {
    const ProgramResult wrong =
        run_program("unetd-bench io --data " + workshop().store + " --readers '" + readers + "'");
    CHECK(wrong.code == 2);
    CHECK(wrong.complains("--readers"));
  }
  CHECK(run_program("unetd-bench io --seconds 0 --data " + workshop().store).code == 2);
}

}  // namespace
}  // namespace unetd
