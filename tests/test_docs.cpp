// Documents that are generated or that point at files must not drift from what they describe.
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

TEST_CASE("the change log speaks of this version", "[docs]") {
  CHECK(read_file(root / "CHANGELOG.md").find("## " UNETD_VERSION) != std::string::npos);
}

}  // namespace
}  // namespace unetd
