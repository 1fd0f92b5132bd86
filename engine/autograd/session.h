// Executes a graph: selects an implementation for every node, plans the memory of every value,
// takes one arena, and from then on replays a flat list of calls with fixed pointers. Nothing is
// allocated in run(). A session is tied to the shapes of its graph; another batch or tile size is
// another session, on the same external buffers.
#pragma once

#include "engine/autograd/graph.h"
#include "engine/memory/plan.h"

#include <memory>
#include <string>
#include <vector>

namespace unetd {

struct SessionOptions {
  DeviceType device = DeviceType::cpu;
  KernelChoice kernels = {};
  // Each value in an allocation of its own, filled with NaN before every run: memory checkers then
  // see every overrun and every use of a value that nothing wrote.
  bool separate = false;
};

struct MemoryReport {
  size_t arena = 0;      // what the session allocates
  size_t peak_live = 0;  // the least any plan could do with
  size_t sum = 0;        // of all planned values and workspaces, without sharing
  size_t external = 0;   // buffers shared with other sessions
};

class Session {
 public:
  // Throws Error when a node has no implementation or memory runs out.
  Session(const Graph& graph, const SessionOptions& options);
  ~Session();
  Session(Session&&) noexcept;

  // Copies a dense host tensor into an input or external value, in the device's layout. Shapes and
  // types must agree.
  void write(Value v, const Tensor& tensor);
  // Copies an input, output or external value to the host.
  Tensor read(Value v) const;
  // The one element of a scalar output, as double.
  double scalar(Value v) const;
  // A dense input in place, for small things that change from step to step.
  void* data(Value v);

  void run();

  const MemoryReport& memory() const { return memory_; }
  struct NodeReport {
    std::string label, problem, implementation;
    double seconds = 0;  // of all profiled runs together
  };
  // One entry a node, in order of execution. Times are taken while profiling is on.
  std::vector<NodeReport> report() const;
  void set_profiling(bool on) { profiling_ = on; }

 private:
  struct Step;
  void bind_memory(const Graph& graph, const MemoryPlan& plan, bool separate);
  void poison();
  const Graph::ValueInfo& check(Value v) const;

  SessionOptions options_;
  std::vector<Graph::ValueInfo> values_;
  std::vector<std::byte*> address_;  // one per value
  std::vector<Step> steps_;
  std::vector<Buffer> memory_blocks_;
  MemoryReport memory_;
  Stream stream_;
  bool profiling_ = false;
};

}  // namespace unetd
