// Chooses implementations by measuring them, where a session asks for it: every one that takes a
// node's problem runs on scratch memory of the right sizes. Choices are kept (TuneStore), so that a
// problem is measured once a machine; with the same store the same implementations run, and give
// the same bits.
#pragma once

#include "engine/autograd/graph.h"
#include "engine/op/tune_store.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace unetd {

class Tuner {
 public:
  // Seconds that one run of a kernel takes. `run` runs it; it may be called any number of times.
  using Cost = std::function<double(const BoundKernel& kernel, const std::function<void()>& run)>;

  // Measures on the device's own clock.
  Tuner(DeviceType device, TuneStore store);
  Tuner(DeviceType device, TuneStore store, Cost cost);

  // The kernel of the fastest among the competitors that `choice` allows. One that fails is left
  // out.
  std::unique_ptr<BoundKernel> bind(const Graph& graph, const Graph::Node& node,
                                    const KernelChoice& choice);

  // Keeps what was measured since the last call, and tells the log how much that was.
  void save();

 private:
  class Scratch;
  size_t measure(const Graph& graph, const Graph::Node& node,
                 const std::vector<std::string_view>& names);
  double cost_of(const Graph::Node& node, std::string_view name, const Scratch& scratch);

  DeviceType device_;
  TuneStore store_;
  Cost cost_;
  int measured_ = 0;  // problems since save()
  double seconds_ = 0;
};

}  // namespace unetd
