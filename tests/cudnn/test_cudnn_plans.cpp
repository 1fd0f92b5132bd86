// cuDNN makes plans for cards that are described and not there. So every convolution of every
// preset is asked for here, through the code that the kernels use; nothing is executed.
//
// The descriptions, tests/data/cudnn_sm*.json, are partly assumed: sizes are from NVIDIA's data
// sheets and programming guide, clocks, identifiers and driver version are plausible. The hidden
// test below prints the real one on a machine with a card; it is to replace the file then.
#include "engine/base/file.h"
#include "engine/base/log.h"
#include "kernels/cudnn/graphs.h"
#include "kernels/cudnn/plan_store.h"
#include "unet/model.h"

#include <algorithm>
#include <iostream>
#include <set>

#include <catch2/catch.hpp>
#include <unistd.h>

namespace unetd::cudnn {
namespace {

namespace fs = std::filesystem;

Target card(const std::string& name) {
  return Target::described(read_file(fs::path(UNETD_SOURCE_DIR) / "tests/data" / (name + ".json")));
}

// The graphs of a preset's training step and of its inference with folded batch norm, for 256x256
// pixels. Where a preset leaves bands and classes to the data, they are those of Sentinel-2 L1C and
// of a mask.
std::vector<unetd::Graph> recordings(std::string_view preset, int64_t batch) {
  constexpr int64_t side = 256, bands = 13, classes = 2;
  Config config;
  apply_preset(config, preset);
  const UNetConfig c = unet_config(config, config.model.in_channels == 0 ? bands : 0,
                                   config.model.classes == 0 ? classes : 0);
  std::vector<unetd::Graph> all(2);
  for (const Mode mode : {Mode::training, Mode::folded}) {
    unetd::Graph& g = all[mode == Mode::training ? 0 : 1];
    Params params = unet_params(c, DeviceType::cpu, mode);
    const Value x = g.input({batch, side, side, c.in_channels}, DType::f32, "image");
    const Value y = unet(g, params, c, x, mode);
    if (mode == Mode::training) g.backward(y, g.input(g.info(y).shape, DType::f32, "gradient"));
  }
  return all;
}

// Calls use(graph of cuDNN) for a node that is a convolution of some kind, in each storage type.
template <class P, class Use>
bool use_if(const unetd::Graph::Node& node, const Use& use) {
  const P* const found = unetd::Graph::problem_as<P>(node);
  if (found == nullptr) return false;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    P problem = *found;
    problem.dtype = dtype;
    if constexpr (requires { graph_of(problem, false); }) {
      use(graph_of(problem, false));
    } else {
      use(graph_of(problem));
    }
  }
  return true;
}

// Every different convolution of all presets.
template <class Use>
void for_each_convolution(const Use& use) {
  std::set<std::string> seen;
  const auto once = [&](Graph graph) {
    if (seen.insert(graph.text()).second) use(std::move(graph));
  };
  for (const auto& [preset, text] : presets()) {
    for (const int64_t batch : {1, 8}) {
      for (const unetd::Graph& recorded : recordings(preset, batch)) {
        for (const auto& node : recorded.nodes()) {
          (void)(use_if<Conv2d>(*node, once) || use_if<Conv2dDataGrad>(*node, once) ||
                 use_if<Conv2dWeightGrad>(*node, once) || use_if<ConvTranspose2x2>(*node, once) ||
                 use_if<ConvTranspose2x2DataGrad>(*node, once) ||
                 use_if<ConvTranspose2x2WeightGrad>(*node, once));
        }
      }
    }
  }
}

const Conv2d small_problem{
    .geometry = {.x = {2, 32, 32, 16}, .k = 32}, .bias = true, .dtype = DType::bf16};

// What the log said during f().
template <class F>
std::vector<std::string> logged(F&& f) {
  std::vector<std::string> messages;
  set_log_sink([&](LogLevel, const std::string& m) { messages.push_back(m); });
  f();
  set_log_sink({});
  return messages;
}

class TemporaryFolder {
 public:
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path path = fs::temp_directory_path() / ("unetd_cudnn_" + std::to_string(getpid()));
};

}  // namespace

TEST_CASE("every convolution of every preset has a plan", "[cudnn]") {
  constexpr size_t budget = size_t{256} << 20;
  for (const char* const name : {"cudnn_sm80", "cudnn_sm90"}) {
    const Target target = card(name);
    size_t problems = 0, most = 0;
    for_each_convolution([&](Graph graph) {
      ++problems;
      INFO(name << ": " << graph.text());
      const auto prepared = std::make_shared<const Plan::Prepared>(std::move(graph), target);
      const auto plan = Plan::build(prepared, target);
      REQUIRE(plan != nullptr);
      CHECK(plan->workspace() <= budget);
      most = std::max(most, plan->workspace());
    });
    std::cout << name << ": " << problems << " convolutions, at most " << (most >> 20)
              << " MiB of workspace\n";
    CHECK(problems > 100);
  }
}

TEST_CASE("prints cuDNN's description of this machine's card", "[.][cudnn-card]") {
  std::cout << Target::present().text() << '\n';
}

}  // namespace unetd::cudnn
