#include "kernels/cudnn/plan.h"

#include "engine/base/log.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <numeric>

namespace unetd::cudnn {
namespace {

// More scratch memory is not worth a faster kernel. Where cuDNN has f32 kernels for NCHW only, they
// take room for all tensors once more.
size_t workspace_limit(const Graph& graph) {
  constexpr size_t beside_tensors = size_t{64} << 20;
  return std::accumulate(graph.argument_bytes().begin(), graph.argument_bytes().end(),
                         beside_tensors);
}

// The numerics contract, in cuDNN's words for what an engine does with numbers. Nothing may differ
// from run to run, and sums are in f32. f32 means f32: tensor cores would round its inputs to
// TF32's 10 bits. Winograd's transforms cost f32 a digit, but 16-bit types most of theirs.
bool allows(cudnnBackendNumericalNote_t note, DType dtype) {
  switch (note) {
    case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
    case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
    case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
      return false;
    case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      return dtype != DType::f32;
    case CUDNN_NUMERICAL_NOTE_WINOGRAD:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
    case CUDNN_NUMERICAL_NOTE_FFT:
      return dtype == DType::f32;
    default:
      return true;
  }
}

bool keeps_contract(const Descriptor& configuration, DType dtype) {
  const Descriptor engine =
      configuration.get_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  const auto notes = engine.get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE);
  return std::all_of(notes.begin(), notes.end(),
                     [dtype](cudnnBackendNumericalNote_t note) { return allows(note, dtype); });
}

constexpr cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B,
                                            CUDNN_HEUR_MODE_FALLBACK};

// The configurations that one of cuDNN's heuristics proposes and that keep the contract, best
// first; none if it has no answer.
std::vector<Descriptor> configurations(const Plan::Prepared& prepared, const Target& target,
                                       cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, prepared.native);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  target.bind_heuristics(heuristics);
  if (!heuristics.try_finalize()) return {};
  std::vector<Descriptor> proposed =
      heuristics.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  std::erase_if(proposed, [&](const Descriptor& configuration) {
    return !keeps_contract(configuration, prepared.graph.dtype());
  });
  return proposed;
}

// One handle serves the process, and a handle serves one thread at a time.
std::mutex& handle_mutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

Plan::Plan(Shared prepared, cudnnHandle_t handle, Descriptor native,
           std::optional<Descriptor> configuration)
    : prepared_(std::move(prepared)),
      handle_(handle),
      configuration_(std::move(configuration)),
      native_(std::move(native)),
      workspace_(
          static_cast<size_t>(native_.get_one<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))) {
}

void Plan::search(const Shared& prepared, const Target& target,
                  const std::function<bool(std::unique_ptr<Plan>)>& take) {
  for (const cudnnBackendHeurMode_t mode : modes) {
    for (Descriptor& configuration : configurations(*prepared, target, mode)) {
      Descriptor native(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      native.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      target.bind_plan(native);
      if (!native.try_finalize()) continue;
      std::unique_ptr<Plan> plan(
          new Plan(prepared, target.handle(), std::move(native), std::move(configuration)));
      if (plan->workspace() > workspace_limit(prepared->graph)) continue;
      if (!take(std::move(plan))) return;
    }
  }
}

std::unique_ptr<Plan> Plan::build(const Shared& prepared, const Target& target, int tuned) {
  std::unique_ptr<Plan> best;
  if (tuned <= 1 || !target.runs()) {
    search(prepared, target, [&best](std::unique_ptr<Plan> plan) {
      best = std::move(plan);
      return false;
    });
    return best;
  }
  double least = std::numeric_limits<double>::infinity();
  search(prepared, target, [&](std::unique_ptr<Plan> plan) {
    try {
      const double seconds = seconds_of(*plan);
      if (seconds < least) {
        least = seconds;
        best = std::move(plan);
      }
    } catch (const Error& e) {
      log_info(prepared->graph.text(), ": a plan is left out: ", e.what());
    }
    return --tuned > 0;
  });
  return best;
}

size_t Plan::candidates(const Shared& prepared, const Target& target) {
  for (const cudnnBackendHeurMode_t mode : modes) {
    const size_t count = configurations(*prepared, target, mode).size();
    if (count > 0) return count;
  }
  return 0;
}

std::unique_ptr<Plan> Plan::restore(const Shared& prepared, const Target& target,
                                    std::string_view json) {
  Descriptor native(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  try {
    native.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, std::span<const char>(json));
    target.bind_plan(native);
    native.finalize();
  } catch (const Error&) {
    return nullptr;
  }
  return std::unique_ptr<Plan>(
      new Plan(prepared, target.handle(), std::move(native), std::nullopt));
}

std::string Plan::json() const {
  const std::vector<char> text = native_.get<char>(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
  return {text.begin(), text.end()};
}

// The variant pack, cuDNN's list of arguments, is made anew each time: it cannot be changed, and
// plans are shared. It costs microseconds of the host, and nothing when a captured graph replays.
void Plan::run(std::span<const void* const> pointers, void* workspace, const Stream& stream) const {
  const std::vector<int64_t>& ids = graph().argument_ids();
  UNETD_CHECK(handle_ != nullptr && pointers.size() == ids.size(), graph().text(), ": ",
              pointers.size(), " arguments for ", ids.size(), " tensors");
  std::vector<void*> arguments;
  arguments.reserve(pointers.size());
  for (const void* p : pointers) {
    UNETD_CHECK(reinterpret_cast<uintptr_t>(p) % Graph::alignment == 0, graph().text(),
                ": an argument is not aligned to ", Graph::alignment, " bytes");
    arguments.push_back(const_cast<void*>(p));
  }
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const int64_t>(ids));
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>(arguments));
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
  pack.finalize();
  const std::lock_guard lock(handle_mutex());
  check(cudnnSetStream(handle_, static_cast<cudaStream_t>(stream.native)), graph().text());
  check(cudnnBackendExecute(handle_, native_.native(), pack.native()), graph().text());
}

}  // namespace unetd::cudnn
