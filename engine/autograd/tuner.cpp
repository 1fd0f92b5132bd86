#include "engine/autograd/tuner.h"

#include "engine/base/log.h"
#include "engine/device/timing.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace unetd {
namespace {

double least_seconds(DeviceType device, const std::function<void()>& run) {
  constexpr double budget = 0.02;
  const DeviceTimer timer(backend(device));
  const std::vector<double> seconds = repeat(
      budget, [] {}, [&] { return timer(run); });
  return *std::ranges::min_element(seconds);
}

bool is_real(DType t) { return wide_type(t) == DType::f32 || t == DType::f64; }

KernelChoice only(const Graph::Node& node, std::string_view implementation) {
  return KernelChoice(str(node.problem(), "=", implementation));
}

}  // namespace

// Memory for the values of one node.
class Tuner::Scratch {
 public:
  Scratch(const Graph& graph, const Graph::Node& node, DeviceType device) {
    for (const Value v : node.in) in.push_back(place(graph.info(v), v, device));
    for (const Value v : node.out) out.push_back(place(graph.info(v), v, device));
  }
  std::vector<const void*> in;
  std::vector<void*> out;

 private:
  // Small numbers of one sign: zeros would cost less power, and denormal numbers or NaN more time.
  // Integers are labels, indices and offsets: zero is one that there is.
  std::byte* place(const Graph::ValueInfo& info, Value v, DeviceType device) {
    constexpr unsigned char content = 0x3c;
    const auto [at, added] = buffers_.try_emplace(v.id);  // a value may be input and output
    if (!added) return at->second.data();
    at->second = Buffer(
        device, static_cast<size_t>(storage_count(layout_of(device), info.kind, info.shape)) *
                    size_of(info.dtype));
    const Buffer& buffer = at->second;
    if (is_real(info.dtype)) {
      backend(device).fill(buffer.data(), content, buffer.bytes(), backend(device).stream());
    }
    return buffer.data();
  }

  std::map<int, Buffer> buffers_;
};

Tuner::Tuner(DeviceType device, TuneStore store)
    : Tuner(device, std::move(store),
            [device](const BoundKernel&, const auto& run) { return least_seconds(device, run); }) {}

Tuner::Tuner(DeviceType device, TuneStore store, Cost cost)
    : device_(device), store_(std::move(store)), cost_(std::move(cost)) {}

std::unique_ptr<BoundKernel> Tuner::bind(const Graph& graph, const Graph::Node& node,
                                         const KernelChoice& choice) {
  const MeasuredPlans plans;
  const std::vector<std::string_view> names = competitors(node.takers(device_, choice));
  if (names.size() < 2) return node.bind(device_, choice);
  const std::string problem = node.identity();
  std::string chosen = store_.find(problem, names);
  if (chosen.empty()) {
    chosen = names[measure(graph, node, names)];
    store_.add(problem, names, chosen);
  }
  return node.bind(device_, only(node, chosen));
}

size_t Tuner::measure(const Graph& graph, const Graph::Node& node,
                      const std::vector<std::string_view>& names) {
  std::vector<double> seconds;
  seconds_ += seconds_of([&] {
    const Scratch scratch(graph, node, device_);
    for (const std::string_view name : names) seconds.push_back(cost_of(node, name, scratch));
  });
  ++measured_;
  return fastest(seconds);
}

double Tuner::cost_of(const Graph::Node& node, std::string_view name, const Scratch& scratch) {
  try {
    const auto kernel = node.bind(device_, only(node, name));
    const Buffer workspace(device_, kernel->workspace());
    Stream stream = backend(device_).stream();
    return cost_(*kernel, [&] { kernel->run(scratch.in, scratch.out, workspace.data(), stream); });
  } catch (const Error& e) {
    log_info(node.problem(), " by ", name, " is left out: ", e.what());
    return std::numeric_limits<double>::infinity();
  }
}

void Tuner::save() {
  store_.save();
  if (measured_ == 0) return;
  log_info("measured the implementations of ", measured_, " problems in ", seconds_, " s",
           store_.file().empty() ? "" : "; choices are in " + store_.file().string());
  measured_ = 0;
  seconds_ = 0;
}

}  // namespace unetd
