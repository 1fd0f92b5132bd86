// Who may include whom. The layers keep the engine ignorant of UNets, input and output ignorant of
// graphs and kernels ignorant of gradients; the fences keep each third-party library in one place.
#include "engine/base/error.h"
#include "engine/base/file.h"

#include <algorithm>
#include <filesystem>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;
using Prefixes = std::vector<std::string_view>;

// A folder and what its files may include; always their own folder as well. The first row whose
// folder begins the path counts, so narrower folders stand first. "" stands for everything.
struct Layer {
  std::string_view folder;
  Prefixes may_include;
};

const std::vector<Layer>& layers() {
  static const Prefixes contract = {"engine/base/", "engine/device/", "engine/tensor/",
                                    "engine/op/", "kernels/common/"};
  static const Prefixes gpu_contract = [] {
    Prefixes with_simt = contract;
    with_simt.push_back("kernels/simt/");  // the language that the CUDA sources are written in
    return with_simt;
  }();
  static const Prefixes library_contract = [] {
    Prefixes with_pieces = contract;
    with_pieces.push_back("kernels/cuda/conv_pieces.h");  // what libraries leave undone
    return with_pieces;
  }();
  static const std::vector<Layer> table = {
      {"engine/base/", {}},
      {"engine/device/", {"engine/base/"}},
      {"engine/memory/", {"engine/base/", "engine/device/"}},
      {"engine/tensor/", {"engine/base/", "engine/device/", "engine/memory/"}},
      {"engine/op/", {"engine/base/", "engine/device/", "engine/tensor/"}},
      {"engine/autograd/", {"engine/"}},
      {"kernels/common/", contract},
      {"kernels/ref/", contract},
      {"kernels/cpu/", contract},
      {"kernels/eigen/", contract},
      {"kernels/onednn/", contract},
      {"kernels/simt/", contract},
      {"kernels/cuda/", gpu_contract},
      {"kernels/cudnn/", library_contract},
      {"kernels/cublas/", library_contract},
      {"kernels/", {"engine/base/", "engine/device/", "engine/tensor/", "engine/op/"}},
      {"unet/", {"engine/"}},
      {"io/", {"engine/base/", "engine/tensor/"}},
      {"tools/", {""}},
      {"benchmarks/", {""}},
      {"tests/", {""}},
  };
  return table;
}

// Third-party headers and the files that may include them; the first row that fits counts. A header
// of no row must belong to the standard library or the operating system.
struct Fence {
  const char* header;  // regular expressions, matched from the start
  const char* files;
};

constexpr Fence fences[] = {
    {"(gdal|ogr|cpl_|vrtdataset)", "io/gdal"},
    {"(oneapi/)?dnnl", "kernels/onednn/"},
    {"(unsupported/)?Eigen/", "kernels/eigen/"},
    {"cudnn", "kernels/cudnn/"},
    {"cublas", "kernels/cublas/"},
    {"(cuda|nvtx3|driver_types|mma\\.h)",
     "(engine/device/cuda|kernels/(cuda|cudnn|cublas)/|kernels/simt/gpu\\.h)"},
    {"(nccl|mpi)", "engine/device/comm_"},
    {"CLI/", "tools/cli\\.cpp"},
    {"yaml-cpp/", "(tools/|tests/|unet/config\\.cpp)"},
    {"nlohmann/json_fwd\\.hpp", "(tools|tests)/"},
    {"nlohmann/", ".*\\.cpp$"},
    {"catch2/", "tests/"},
    {"omp\\.h", "engine/base/threads\\.h"},
};
constexpr const char* system_headers =
    "([a-z0-9_]+|(sys|linux)/.*\\.h|(unistd|fcntl|dlfcn|immintrin|cpuid|spawn|sched|cxxabi)\\.h|"
    "sanitizer/.*\\.h)";

bool begins_with(const std::string& text, const char* pattern) {
  return std::regex_search(text, std::regex(pattern), std::regex_constants::match_continuous);
}

bool layer_allows(const std::string& file, const std::string& header) {
  const auto layer = std::find_if(layers().begin(), layers().end(),
                                  [&](const Layer& l) { return file.starts_with(l.folder); });
  if (layer == layers().end()) return false;
  // The files that list the back ends include all of them; nothing else in kernels/ does.
  const bool lists = file == "kernels/register.cpp" || file == "kernels/register_cuda.cpp";
  if (lists && header.starts_with("kernels/")) return true;
  if (header.starts_with(layer->folder) && layer->folder != "kernels/") return true;
  if (file.starts_with("kernels/") &&
      fs::path(header).parent_path() == fs::path(file).parent_path())
    return true;
  return std::any_of(layer->may_include.begin(), layer->may_include.end(),
                     [&](std::string_view prefix) { return header.starts_with(prefix); });
}

bool fence_allows(const std::string& file, const std::string& header) {
  for (const Fence& fence : fences) {
    if (begins_with(header, fence.header)) return begins_with(file, fence.files);
  }
  return std::regex_match(header, std::regex(system_headers));
}

// The includes of `text` that `file` (relative to the root) may not have, as "file:line: header".
std::vector<std::string> violations(const std::string& file, const std::string& text) {
  static const std::regex include(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::vector<std::string> found;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::smatch match;
    if (!std::regex_search(line, match, include)) continue;
    const bool quoted = match[1] == "\"";
    if (quoted ? layer_allows(file, match[2]) : fence_allows(file, match[2])) continue;
    found.push_back(str(file, ":", number, ": ", match[2].str()));
  }
  return found;
}

bool is_source(const fs::path& path) {
  const std::string suffix = path.extension();
  return suffix == ".h" || suffix == ".cpp" || suffix == ".cu" || suffix == ".cuh";
}

// Calls check(path relative to the root, text) for every source file.
template <class F>
void for_each_source(F&& check) {
  const fs::path root = UNETD_SOURCE_DIR;
  for (const char* folder : {"engine", "kernels", "unet", "io", "tools", "tests", "benchmarks"}) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file() && is_source(entry.path())) {
        check(fs::relative(entry.path(), root).string(), read_file(entry.path()));
      }
    }
  }
}

TEST_CASE("every include respects the layers and the fences", "[layering]") {
  int files = 0;
  for_each_source([&files](const std::string& file, const std::string& text) {
    ++files;
    CHECK(violations(file, text) == std::vector<std::string>());
  });
  CHECK(files > 50);
}

TEST_CASE("every header guards itself and says what it is", "[layering]") {
  for_each_source([](const std::string& file, const std::string& text) {
    // A body that several files include, once per instruction set, is named so and has no guard.
    if (!file.ends_with(".h") || file.ends_with("_body.h")) return;
    INFO(file);
    CHECK(text.starts_with("//"));
    CHECK(text.find("\n#pragma once\n") != std::string::npos);
    CHECK(text.find("using namespace") == std::string::npos);
  });
}

TEST_CASE("the layering check rejects planted includes", "[layering]") {
  const auto rejects = [](const char* file, const char* line) {
    return violations(file, std::string("// text\n  ") + line + "\n").size() == 1;
  };
  CHECK(rejects("engine/base/log.cpp", "#include \"engine/device/device.h\""));
  CHECK(rejects("engine/op/registry.h", "#include \"engine/autograd/graph.h\""));
  CHECK(rejects("engine/autograd/graph.h", "#include \"kernels/register.h\""));
  CHECK(rejects("engine/autograd/graph.h", "#include \"unet/model.h\""));
  CHECK(rejects("kernels/ref/conv2d.cpp", "#include \"engine/memory/plan.h\""));
  CHECK(rejects("kernels/ref/conv2d.cpp", "#include \"kernels/eigen/gemm.h\""));
  CHECK(rejects("kernels/eigen/gemm.h", "#include \"kernels/register.h\""));
  CHECK(rejects("kernels/cpu/conv2d.cpp", "#include \"kernels/simt/simt.h\""));
  CHECK(rejects("kernels/cudnn/kernels.cpp", "#include \"kernels/cuda/kernels.h\""));
  CHECK(rejects("kernels/cudnn/kernels.cpp", "#include <cublasLt.h>"));
  CHECK(rejects("kernels/register.h", "#include \"kernels/ref/register.h\""));
  CHECK(rejects("unet/trainer.h", "#include \"io/loader.h\""));
  CHECK(rejects("unet/trainer.cpp", "#include \"kernels/register.h\""));
  CHECK(rejects("io/loader.h", "#include \"unet/config.h\""));
  CHECK(rejects("io/loader.h", "#include \"engine/op/loss.h\""));
  CHECK(rejects("io/scene.cpp", "#include <gdal_priv.h>"));
  CHECK(rejects("io/scene.cpp", "# include <cpl_conv.h>"));
  CHECK(rejects("kernels/cpu/conv2d.cpp", "#include <oneapi/dnnl/dnnl.hpp>"));
  CHECK(rejects("unet/model.cpp", "#include <Eigen/Dense>"));
  CHECK(rejects("tools/unetd_tile.cpp", "#include <CLI/CLI.hpp>"));
  CHECK(rejects("unet/trainer.cpp", "#include <yaml-cpp/yaml.h>"));
  CHECK(rejects("io/patch_store.h", "#include <nlohmann/json.hpp>"));
  CHECK(rejects("engine/base/rng.h", "#include <boost/any.hpp>"));
  CHECK(rejects("somewhere/else.cpp", "#include \"engine/base/error.h\""));
}

TEST_CASE("the layering check accepts what the layers allow", "[layering]") {
  const auto accepts = [](const char* file, const char* line) {
    return violations(file, line).empty();
  };
  CHECK(accepts("engine/autograd/session.cpp", "#include \"engine/memory/plan.h\""));
  CHECK(accepts("kernels/cuda/maxpool2x2.cu", "#include \"kernels/simt/simt.h\""));
  CHECK(accepts("kernels/cublas/kernels.cpp", "#include \"kernels/cuda/conv_pieces.h\""));
  CHECK(accepts("kernels/cudnn/plan_timing.cpp", "#include <cuda_runtime.h>"));
  CHECK(accepts("kernels/register.cpp", "#include \"kernels/ref/register.h\""));
  CHECK(accepts("io/gdal_quicklook.cpp", "#include <gdal_priv.h>"));
  CHECK(accepts("io/patch_store.cpp", "#include <nlohmann/json.hpp>"));
  CHECK(accepts("tools/unetd_train.cpp", "#include \"io/loader.h\""));
  CHECK(accepts("engine/base/file.cpp", "#include <unistd.h>"));
}

}  // namespace
}  // namespace unetd
