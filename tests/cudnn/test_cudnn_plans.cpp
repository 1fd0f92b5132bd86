// cuDNN makes plans for cards that are described and not there. So every convolution of every
// preset is asked for here, through the code that the kernels use; nothing is executed.
//
// The descriptions, tests/data/cudnn_sm*.json, are partly assumed: sizes are from NVIDIA's data
// sheets and programming guide, clocks, identifiers and driver version are plausible; of the B200
// (sm100) the sizes of memory and L2 cache are assumed, too. The hidden test below writes the real
// one to the file that UNETD_CUDNN_CARD names, on a machine with a card; it is to replace the file
// here then.
#include "engine/base/file.h"
#include "engine/base/log.h"
#include "kernels/cudnn/graphs.h"
#include "kernels/cudnn/plan_store.h"
#include "unet/model.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <set>
#include <type_traits>

#include <catch2/catch.hpp>
#include <dlfcn.h>
#include <unistd.h>

namespace unetd::cudnn {
namespace {

namespace fs = std::filesystem;

// Kernels that are compiled at run time are proposed only where a driver's library is. The
// toolkit's stub of it will do, which must come first: cuDNN looks once.
bool driver_or_stub() {
  static const bool there = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != nullptr ||
                            dlopen(UNETD_DRIVER_STUB, RTLD_NOW | RTLD_GLOBAL) != nullptr;
  return there;
}

constexpr const char* cards[] = {"cudnn_sm80", "cudnn_sm90", "cudnn_sm100"};

Target card(const std::string& name) {
  driver_or_stub();
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

// Calls use(problem) in each storage type if the node's problem is a P.
template <class P, class Use>
bool use_if(const unetd::Graph::Node& node, const Use& use) {
  const P* const found = unetd::Graph::problem_as<P>(node);
  if (found == nullptr) return false;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    P problem = *found;
    problem.dtype = dtype;
    use(problem);
  }
  return true;
}

// Calls use(problem) for the convolutions of all presets.
template <class Use>
void for_each_convolution(const std::vector<int64_t>& batches, const Use& use) {
  for (const auto& [preset, text] : presets()) {
    for (const int64_t batch : batches) {
      for (const unetd::Graph& recorded : recordings(preset, batch)) {
        for (const auto& node : recorded.nodes()) {
          (void)(use_if<Conv2d>(*node, use) || use_if<Conv2dDataGrad>(*node, use) ||
                 use_if<Conv2dWeightGrad>(*node, use) || use_if<ConvTranspose2x2>(*node, use) ||
                 use_if<ConvTranspose2x2DataGrad>(*node, use) ||
                 use_if<ConvTranspose2x2WeightGrad>(*node, use));
        }
      }
    }
  }
}

template <class P>
concept HasEpilogue = requires(const P& p) {
  graph_of(p, true);
};

template <class P>
Graph bare_graph(const P& p) {
  if constexpr (HasEpilogue<P>) {
    return graph_of(p, false);
  } else {
    return graph_of(p);
  }
}

// Each different bare graph, or each with bias and perhaps ReLU, prepared for the card.
enum class Epilogue : uint8_t { bare, fused };
std::vector<Plan::Shared> graphs(Epilogue epilogue, const std::vector<int64_t>& batches,
                                 const Target& target) {
  std::set<std::string> seen;
  std::vector<Plan::Shared> all;
  const auto add = [&](Graph graph) {
    if (!seen.insert(graph.text()).second) return;
    all.push_back(std::make_shared<const Plan::Prepared>(std::move(graph), target));
  };
  for_each_convolution(batches, [&](const auto& problem) {
    if (epilogue == Epilogue::bare) return add(bare_graph(problem));
    if constexpr (HasEpilogue<std::decay_t<decltype(problem)>>) {
      if (problem.bias) add(graph_of(problem, true));
    }
  });
  return all;
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
  for (const char* const name : cards) {
    const Target target = card(name);
    std::map<DType, size_t> most = {{DType::f32, 0}, {DType::bf16, 0}, {DType::f16, 0}};
    const std::vector<Plan::Shared> all = graphs(Epilogue::bare, {1, 8}, target);
    CHECK(all.size() > 300);
    for (const Plan::Shared& prepared : all) {
      INFO(name << ": " << prepared->graph.text());
      const auto plan = Plan::build(prepared, target);
      REQUIRE(plan != nullptr);
      size_t& dtype_most = most[prepared->graph.dtype()];
      dtype_most = std::max(dtype_most, plan->workspace());
    }
    std::cout << name << ": " << all.size() << " convolutions; workspaces of at most";
    for (const auto& [dtype, bytes] : most) {
      std::cout << ' ' << (bytes >> 20) << " MiB in " << unetd::name_of(dtype);
      const size_t budget = size_t{dtype == DType::f32 ? 448U : 96U} << 20;
      CHECK(bytes <= budget);
    }
    std::cout << '\n';
  }
}

// In 16-bit types these kernels are compiled at run time, which ends at the missing driver.
TEST_CASE("cuDNN fuses bias and ReLU", "[cudnn]") {
  if (!driver_or_stub()) {
    WARN("not run: neither a driver nor the toolkit's stub of it, " << UNETD_DRIVER_STUB);
    return;
  }
  for (const char* const name : cards) {
    const Target target = card(name);
    const std::vector<Plan::Shared> all = graphs(Epilogue::fused, {8}, target);
    CHECK(all.size() > 50);
    for (const Plan::Shared& prepared : all) {
      // f32 has them without TF32 for some, f16 has all that bf16 has.
      if (prepared->graph.dtype() != DType::bf16) continue;
      INFO(name << ": " << prepared->graph.text());
      CHECK(Plan::candidates(prepared, target) > 0);
    }
  }
}

// Calls use(name, card, compiled later): batch-norm graphs for the B200 are compiled at run time,
// which wants the driver's library.
template <class Use>
void for_each_card(const Use& use) {
  for (const char* const name : cards) {
    const bool compiled_later = std::string_view(name) == "cudnn_sm100";
    if (!compiled_later || driver_or_stub()) use(name, card(name), compiled_later);
  }
}

// Bands are padded: cuDNN has such kernels for channels in multiples of 8.
TEST_CASE("cuDNN takes statistics of f16 convolutions", "[cudnn]") {
  const auto prepared = [](ConvGeometry geometry, int64_t channels, const Target& target) {
    geometry.x.c = channels;
    const Conv2dStats problem{.geometry = geometry, .dtype = DType::f16};
    return std::make_shared<const Plan::Prepared>(graph_of(problem), target);
  };
  for_each_card([&](const char* name, const Target& target, bool compiled_later) {
    std::set<std::string> seen;
    for_each_convolution({8}, [&](const auto& problem) {
      if constexpr (std::is_same_v<std::decay_t<decltype(problem)>, Conv2d>) {
        const ConvGeometry& g = problem.geometry;
        if (problem.dtype != DType::f16 || g.r == 1) return;  // batch norm follows 3x3 ones
        const auto padded = prepared(g, (g.x.c + 7) / 8 * 8, target);
        if (!seen.insert(padded->graph.text()).second) return;
        INFO(name << ": " << padded->graph.text());
        CHECK((compiled_later ? Plan::candidates(padded, target) > 0
                              : Plan::build(padded, target) != nullptr));
        if (!compiled_later && g.x.c % 8 != 0) {
          CHECK(Plan::build(prepared(g, g.x.c, target), target) == nullptr);
        }
      }
    });
    CHECK(seen.size() > 10);
  });
}

// The way back: what a session fuses is a data gradient whose image comes of a batch norm, so of
// channels in multiples of 8 in every preset. Other types have no such kernels.
TEST_CASE("cuDNN takes a batch norm's gradients of f16 data gradients", "[cudnn]") {
  for_each_card([&](const char* name, const Target& target, bool compiled_later) {
    std::set<std::string> seen;
    for_each_convolution({8}, [&](const auto& problem) {
      if constexpr (std::is_same_v<std::decay_t<decltype(problem)>, Conv2dDataGrad>) {
        const ConvGeometry& g = problem.geometry;
        if (problem.dtype == DType::f32 || g.r == 1) return;
        const Conv2dNormGrad fused{g, problem.dtype};
        const auto prepared = std::make_shared<const Plan::Prepared>(graph_of(fused), target);
        if (!seen.insert(prepared->graph.text()).second) return;
        INFO(name << ": " << prepared->graph.text());
        const size_t candidates = Plan::candidates(prepared, target);
        CHECK((candidates > 0) == (problem.dtype == DType::f16));
        if (problem.dtype == DType::f16 && !compiled_later) {
          CHECK(Plan::build(prepared, target) != nullptr);
        }
      }
    });
    CHECK(seen.size() > 10);
  });
}

// Why batch norm and ReLU before a convolution are no part of it: scale and shift would have to be
// rounded to the storage type, and a shift that mean / deviation makes large loses what matters.
TEST_CASE("cuDNN has no convolution of a batch norm with f32 parameters", "[cudnn]") {
  const Shape image{8, 64, 64, 64};
  for (const char* const name : cards) {
    const Target target = card(name);
    for (const DType dtype : {DType::f16, DType::bf16}) {
      for (const bool gradient : {false, true}) {
        Graph graph("normalised convolution", dtype);
        const size_t x = graph.image(image), scale = graph.vector(image.c),
                     shift = graph.vector(image.c);
        const size_t scaled = graph.intermediate(image), shifted = graph.intermediate(image),
                     z = graph.intermediate(image);
        graph.multiply(x, scale, scaled);
        graph.add(scaled, shift, shifted);
        graph.relu(shifted, z);
        const size_t y = graph.image(image), w = graph.filter({image.c, 3, 3, image.c});
        using Compute = Graph::Compute;
        graph.convolution({gradient ? Compute::filter : Compute::result, z, w, y, 1, 1});
        INFO(name << ' ' << unetd::name_of(dtype) << " gradient " << gradient);
        const auto prepared = std::make_shared<const Plan::Prepared>(std::move(graph), target);
        CHECK(Plan::build(prepared, target) == nullptr);
      }
    }
  }
}

TEST_CASE("plans keep f32 free of tensor cores, and so of TF32", "[cudnn]") {
  const Target target = card("cudnn_sm90");
  Conv2d problem = small_problem;
  const auto candidates = [&](DType dtype) {
    problem.dtype = dtype;
    return Plan::candidates(
        std::make_shared<const Plan::Prepared>(graph_of(problem, false), target), target);
  };
  CHECK(candidates(DType::f32) > 0);
  CHECK(candidates(DType::f32) < candidates(DType::bf16));
}

TEST_CASE("a described card is described back, and cannot run plans", "[cudnn]") {
  const Target target = card("cudnn_sm90");
  CHECK(target.text().find("H200") != std::string::npos);
  CHECK(Target::described(target.text()).text() == target.text());
  CHECK_THROWS_AS(Target::described("{\"deviceName\": "), Error);
  const auto prepared =
      std::make_shared<const Plan::Prepared>(graph_of(small_problem, false), target);
  const void* const pointers[] = {nullptr, nullptr, nullptr};
  CHECK_THROWS_AS(Plan::build(prepared, target)->run(pointers, nullptr, {}), Error);
}

TEST_CASE("what cuDNN refuses is told with the problem's extents", "[cudnn]") {
  Conv2d problem = small_problem;
  problem.dtype = DType::f64;
  CHECK_THROWS_WITH(graph_of(problem, false), Catch::Contains("f64"));
}

TEST_CASE("plans outlive the process on disk", "[cudnn]") {
  const Target target = card("cudnn_sm90");
  const TemporaryFolder folder;
  const auto graph = [] { return graph_of(small_problem, false); };
  const fs::path file = PlanStore(target, folder.path).file_of(graph());
  // A new store each time, as in a new process.
  const auto get = [&](int tuned = 0) {
    return PlanStore(target, folder.path).get(graph(), tuned);
  };
  const auto first = get();
  REQUIRE(first != nullptr);
  const std::string kept = read_file(file);

  SECTION("and are read back") {
    std::shared_ptr<const Plan> second;
    CHECK(logged([&] { second = get(); }).empty());
    CHECK(second->json() == first->json());
    CHECK(second->workspace() == first->workspace());
    CHECK(read_file(file) == kept);
  }
  SECTION("damaged files are replaced") {
    std::string flipped = kept;
    flipped[kept.size() / 2] ^= 1;
    for (const std::string& content :
         {flipped, kept.substr(0, kept.size() / 2), std::string(), std::string("text")}) {
      write_file(file, content);
      const auto messages = logged([&] { REQUIRE(get() != nullptr); });
      REQUIRE(messages.size() == 1);
      CHECK(messages[0].find(file.string()) != std::string::npos);
      CHECK(read_file(file) == kept);
    }
  }
  SECTION("files of plans that were not measured do not serve who wants that") {
    CHECK(logged([&] { REQUIRE(get(3) != nullptr); }).empty());
    CHECK(read_file(file) != kept);
    CHECK(logged([&] { REQUIRE(get() != nullptr); }).empty());
  }
  SECTION("and other cards have others") {
    const Target other = card("cudnn_sm80");
    CHECK(PlanStore(other, folder.path).file_of(graph()) != file);
  }
}

TEST_CASE("a folder that cannot be written costs the file only", "[cudnn]") {
  const Target target = card("cudnn_sm90");
  const TemporaryFolder folder;
  write_file(folder.path / "file", "");
  PlanStore store(target, folder.path / "file" / "folder");
  const auto messages =
      logged([&] { CHECK(store.get(graph_of(small_problem, false)) != nullptr); });
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].find("not kept") != std::string::npos);
  CHECK(store.get(graph_of(small_problem, false)) == store.get(graph_of(small_problem, false)));
}

TEST_CASE("writes cuDNN's description of this machine's card", "[.][cudnn-card]") {
  const char* const file = std::getenv("UNETD_CUDNN_CARD");
  REQUIRE(file != nullptr);
  write_file(file, Target::present().text() + "\n");
}

}  // namespace unetd::cudnn
