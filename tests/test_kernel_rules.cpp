// The CUDA sources keep to the language of kernels/simt/simt.h, so that they compile for the
// emulator.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

struct Rule {
  std::regex forbidden;
  const char* remedy;
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = {
      {std::regex("<<<"), "launch(kernel, grid, block, ...)"},
      {std::regex(R"(\b(asm|__asm__)\b)"), "an instruction of simt.h"},
      {std::regex(R"(\b__shared__\b)"), "SIMT_SHARED or dynamic_shared"},
      {std::regex(R"(\b__(shfl|ballot|any_sync|all_sync|syncwarp))"),
       "shfl_xor, ballot, warp_sync"},
      {std::regex(R"(\batomic[A-Z])"), "atomic_add, atomic_max, atomic_cas"},
      {std::regex(R"(#\s*include\s*["<](cuda|cooperative_groups|mma\.h|cub/|thrust/))"), "simt.h"},
      {std::regex(R"(\bcuda[A-Z]\w*\s*\()"), "engine/device"},
      {std::regex(R"(#\s*pragma\s+unroll)"), "SIMT_UNROLL"},
  };
  return all;
}

// "line 3: '<<<', use launch(...)" for each breach. Comments may say what they like.
std::vector<std::string> breaches(std::istream& source) {
  static const std::regex comment(R"(//.*$)");
  std::vector<std::string> found;
  std::string line;
  for (int number = 1; std::getline(source, line); ++number) {
    const std::string code = std::regex_replace(line, comment, "");
    std::smatch match;
    for (const Rule& rule : rules()) {
      if (!std::regex_search(code, match, rule.forbidden)) continue;
      std::ostringstream text;
      text << "line " << number << ": '" << match.str() << "', use " << rule.remedy;
      found.push_back(text.str());
    }
  }
  return found;
}

TEST_CASE("CUDA sources use only what the emulator has", "[rules][unit]") {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(
           std::filesystem::path(UNETD_SOURCE_DIR) / "kernels" / "cuda")) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".cu" && extension != ".cuh" && extension != ".h") continue;
    ++files;
    std::ifstream in(entry.path());
    INFO(entry.path());
    CHECK_THAT(breaches(in), Catch::Equals(std::vector<std::string>{}));
  }
  CHECK(files >= 3);
}

TEST_CASE("the rules find what they forbid", "[rules][unit]") {
  for (const char* line : {"k<<<1, 2>>>(x);", "asm volatile(\"\");", "  __shared__ float t[3];",
                           "v = __shfl_xor_sync(m, v, 1);", "atomicAdd(p, 1);",
                           "#include <cuda_fp16.h>", "cudaMalloc(&p, 3);", "#pragma unroll"}) {
    std::istringstream source(line);
    INFO(line);
    CHECK(breaches(source).size() == 1);
  }
  std::istringstream allowed(
      "// not __shared__\nSIMT_SHARED(T, t); __syncthreads(); atomic_add(p, v);");
  CHECK(breaches(allowed).empty());
}

}  // namespace
}  // namespace unetd
