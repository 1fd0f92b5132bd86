// Documents that are generated or that point at files must not drift from what they describe.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "tests/support/run_program.h"

#include <filesystem>
#include <regex>
#include <set>
#include <string>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;
const fs::path root = UNETD_SOURCE_DIR;

TEST_CASE("the man pages are what the programs print", "[docs]") {
  std::set<std::string> pages;
  for (const std::string& name : program_names()) {
    const fs::path page = root / "tools/man" / (name + ".md");
    pages.insert(page.filename());
    INFO("write it again: " << name << " --help-markdown > tools/man/" << name << ".md");
    REQUIRE(fs::exists(page));
    CHECK(read_file(page) == run_program(name + " --help-markdown").out);
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(root / "tools/man")) {
    INFO(entry.path() << " describes no program");
    CHECK(pages.contains(entry.path().filename()));
  }
}

TEST_CASE("relative links in the documents lead to files", "[docs]") {
  const std::regex link(R"(\]\(([^)#:\s]+)(#[^)]*)?\))");
  int links = 0;
  for (const fs::path& folder : {root, root / "docs", root / "benchmarks"}) {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".md") continue;
      const std::string text = read_file(entry.path());
      for (std::sregex_iterator at(text.begin(), text.end(), link), end; at != end; ++at, ++links) {
        INFO(entry.path() << " links to " << (*at)[1].str());
        CHECK(fs::exists(folder / (*at)[1].str()));
      }
    }
  }
  CHECK(links > 0);
}

// The tables of a page in `folder`, written from the result files beside it.
ProgramResult performance_table(const fs::path& folder, const std::string& arguments) {
  return run_command(str("python3 ", (root / "benchmarks/performance_table.py").string(),
                         " --page ", (folder / "page.md").string(), " --results ", folder.string(),
                         arguments));
}

TEST_CASE("pages of figures have those of the result files", "[docs]") {
  const std::string page = GENERATE("performance.md", "accuracy.md");
  const ProgramResult check =
      run_command("python3 " + (root / "benchmarks/performance_table.py").string() +
                  " --check --page " + (root / "docs" / page).string());
  INFO(check.out << check.err);
  CHECK(check.code == 0);
}

TEST_CASE("tables of measured figures follow the result files", "[docs]") {
  const TempFolder folder;
  const fs::path page = folder / "page.md";
  write_file(page,
             "before\n<!-- table: scores toy -->\n<!-- /table -->\nbetween\n"
             "<!-- table: speed cpu -->\n<!-- /table -->\nafter\n");
  write_file(folder / "unetd_toy.json",
             R"({"steps": 1200, "train_seconds": 90, "test": {"mean_iou": 0.75,
                 "iou": {"sea": 1.0, "ice": 0.5}}, "valid": {"mean_iou": null}})");
  write_file(folder / "pixel_forest_toy.json",
             R"({"test": {"mean_iou": 0.875, "iou": {"sea": 0.875}}})");
  CHECK(performance_table(folder.path(), " --check").code == 1);
  REQUIRE(performance_table(folder.path(), "").code == 0);
  CHECK(performance_table(folder.path(), " --check").code == 0);
  std::string text = read_file(page);
  CHECK_THAT(text,
             Catch::Contains("| unetd (1,200 steps, 2 minutes) | **1.000** | .500 | .750 | - |"));
  CHECK_THAT(text, Catch::Contains("| pixel-wise random forest | .875 | - | **.875** | - |"));
  CHECK_THAT(text, Catch::Contains("Not measured yet") && Catch::Contains("\nafter\n"));

  write_file(folder / "against_pytorch_cpu.json",
             R"({"cpu": "abacus", "threads": 2, "torch": "2.9", "cases": [{"kind": "step",
                 "width": 8, "channels": 3, "classes": 2, "size": 64, "batch": 1, "speedup": 0.5,
                 "unetd_seconds": 2, "pytorch_seconds": 1, "pytorch_mode": "compile"}]})");
  CHECK(performance_table(folder.path(), " --check").code == 1);
  REQUIRE(performance_table(folder.path(), "").code == 0);
  text = read_file(page);
  CHECK_THAT(text, Catch::Contains("1x64x64 | 2.000 | **1.000** | compile | 0.50 |"));
  CHECK_THAT(text, !Catch::Contains("Not measured yet"));

  write_file(folder / "against_pytorch_cpu.json", "{");
  CHECK(performance_table(folder.path(), "").complains("against_pytorch_cpu.json"));
  CHECK(read_file(page) == text);
}

TEST_CASE("tables of a GPU have memory, precisions and shares of what it can do", "[docs]") {
  const TempFolder folder;
  const fs::path page = folder / "page.md";
  write_file(page,
             "<!-- table: speed gpu -->\n<!-- /table -->\n<!-- table: network gpu -->\n"
             "<!-- /table -->\n<!-- table: operations gpu -->\n<!-- /table -->\n");
  write_file(folder / "against_pytorch_gpu.json",
             R"({"device": "slide rule", "torch": "2.9", "cases": [{"kind": "infer", "width": 8,
                 "channels": 3, "classes": 2, "size": 64, "batch": 16, "precision": "bf16",
                 "speedup": 2, "unetd_seconds": 1, "pytorch_seconds": 2, "pytorch_mode": "graphs",
                 "unetd_mib": 1500, "pytorch_mib": 3000}]})");
  write_file(folder / "gpu_step_f16.json",
             R"({"benchmark": "step", "device": "slide rule", "seconds": [0.5], "gflops": 2000,
                 "peak_gflops": 4000, "arena_mib": 10, "memory_mib": 12, "network": {"width": 8, "in_channels": 3,
                 "classes": 2, "size": 64, "batch": 16, "precision": "f16"}})");
  write_file(folder / "gpu_ops.json",
             R"({"device": "slide rule", "peak": {"gflops": {"bf16": 5000}, "gb_per_s": 100},
                 "cases": [{"problem": "conv2d", "flops": 1, "preferred": "cudnn",
                 "fastest": "cudnn", "implementations": [
                 {"name": "cudnn", "seconds": 1, "gb_per_s": 50, "gflops": 4000,
                  "share_of_peak": 0.8},
                 {"name": "cuda", "seconds": 2, "gb_per_s": 25, "gflops": 2000,
                  "share_of_peak": 0.4}]}]})");
  REQUIRE(performance_table(folder.path(), "").code == 0);
  const std::string text = read_file(page);
  CHECK_THAT(text, Catch::Contains("16x64x64, bf16 | **1.000** | 2.000 | graphs | 2.00 | 1,500 |"));
  CHECK_THAT(text, Catch::Contains("16x64x64, f16 | 0.5000 | 32.0 | 2.00 | 50 % | 12 |"));
  CHECK_THAT(text,
             Catch::Contains("| conv2d | 1 | cudnn | 50.0 | 4.0 | 80 % | 0.50 to 0.50 | 0 |"));
  CHECK_THAT(text, Catch::Contains("100 GB/s, a matrix product at 5.0 TFLOP/s in bf16."));
}

TEST_CASE("learning curves are told by seed and step", "[docs]") {
  const TempFolder folder;
  const fs::path page = folder / "page.md";
  write_file(page, "<!-- table: curves toy -->\n<!-- /table -->\n");
  REQUIRE(performance_table(folder.path(), "").code == 0);
  CHECK_THAT(read_file(page), Catch::Contains("Not measured yet"));
  const auto result = [&](const char* name, const char* seed, const char* test) {
    write_file(folder / name, str(R"({"steps": 20, "seed": )", seed, R"(, "test": {"mean_iou": )",
                                  test, R"(}, "curve": [[10, 0.5], [20, 0.75]]})"));
  };
  result("curve_toy_unetd_0.json", "0", "0.5");
  result("curve_toy_unetd_1.json", "1", "0.75");
  result("curve_toy_torch_0.json", "0", "0.625");
  REQUIRE(performance_table(folder.path(), "").code == 0);
  const std::string text = read_file(page);
  CHECK_THAT(text, Catch::Contains("| unetd (20 steps) | .500 | .750 | .625 ± .177 |"));
  CHECK_THAT(text, Catch::Contains("| PyTorch (20 steps) | .625 | - | .625 |"));
  CHECK_THAT(text, Catch::Contains("| unetd | .500 ± .000 | .750 ± .000 |"));
}

TEST_CASE("the change log speaks of this version", "[docs]") {
  CHECK(read_file(root / "CHANGELOG.md").find("## " UNETD_VERSION) != std::string::npos);
}

}  // namespace
}  // namespace unetd
