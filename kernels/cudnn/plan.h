// A graph made ready to run on a card: cuDNN's choice of kernels for it, and how much scratch
// memory they take.
#pragma once

#include "engine/device/device.h"
#include "kernels/cudnn/graph.h"

#include <functional>

namespace unetd::cudnn {

class Plan {
 public:
  // The graph with cuDNN's descriptor of it, shared by all plans for it.
  struct Prepared {
    // Throws Error when cuDNN does not accept the graph.
    Prepared(Graph g, const Target& target) : graph(std::move(g)), native(graph.finalize(target)) {}
    Graph graph;
    Descriptor native;
  };
  using Shared = std::shared_ptr<const Prepared>;

  // The plan that cuDNN ranks first among those that keep the engine's numerics contract
  // (engine/op/registry.h), or null. With `tuned` > 1 and a card that is there, the fastest of that
  // many, measured.
  static std::unique_ptr<Plan> build(const Shared& prepared, const Target& target, int tuned = 0);
  // A plan that json() told of. Null if cuDNN does not take it for this card.
  static std::unique_ptr<Plan> restore(const Shared& prepared, const Target& target,
                                       std::string_view json);

  // How many configurations that keep the contract the first of cuDNN's heuristics proposes that
  // has any, whether they can be built here or not: kernels that are compiled at run time cannot
  // without a driver.
  static size_t candidates(const Shared& prepared, const Target& target);

  // Bytes of scratch memory.
  size_t workspace() const { return workspace_; }
  // cuDNN's description: with it a later process skips the search, and the compiler where there was
  // one.
  std::string json() const;
  const Graph& graph() const { return prepared_->graph; }

  // Executes on stream.native. `pointers` are those of the graph's tensors in memory, in the order
  // of their declaration, aligned to 16 bytes.
  void run(std::span<const void* const> pointers, void* workspace, const Stream& stream) const;

 private:
  Plan(Shared prepared, cudnnHandle_t handle, Descriptor native,
       std::optional<Descriptor> configuration);
  // Calls take(plan) for plans in cuDNN's order until it returns false.
  static void search(const Shared& prepared, const Target& target,
                     const std::function<bool(std::unique_ptr<Plan>)>& take);

  Shared prepared_;
  cudnnHandle_t handle_;
  std::optional<Descriptor> configuration_;  // which `native_` refers to
  Descriptor native_;
  size_t workspace_;
};

// Seconds that one execution takes on the card that is there: the least of a few, after a first one
// that loads the kernels.
double seconds_of(const Plan& plan);

}  // namespace unetd::cudnn
