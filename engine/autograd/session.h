// Executes a graph: fuses nodes (fusion.h), selects an implementation for every node, plans the
// memory of every value, takes one arena, and from then on replays a flat list of calls with fixed
// pointers. Nothing is allocated in run(). A session is tied to the shapes of its graph; another
// batch or tile size is another session, on the same external buffers.
//
// On a GPU calls return while the device works; what is read waits for it. The first run issues the
// calls one by one, which lets libraries prepare themselves; the second captures them, and from
// then on a run is one launch. Three environment variables help to find faults, at the price of
// speed:
//   UNETD_SYNC=1          wait after every node, so that a fault is reported with the node's name
//   UNETD_CHECK_NAN=1     stop at the first node whose result is not finite
//   UNETD_VERBOSE=time    time every node, and log the sums at the session's end
#pragma once

#include "engine/autograd/fusion.h"
#include "engine/autograd/graph.h"
#include "engine/memory/buffer.h"
#include "engine/memory/plan.h"

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace unetd {

class Tuner;

struct SessionOptions {
  DeviceType device = DeviceType::cpu;
  KernelChoice kernels = {};
  // Chooses among what `kernels` allows by measuring (tuner.h); null: the order of preference does.
  std::shared_ptr<Tuner> tuner = {};
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
  // Bytes of the arena that a session would take. Takes and measures nothing.
  static size_t arena_of(const Graph& graph, const SessionOptions& options);
  Session(Session&&) noexcept;

  // `now`: before the next run. `ahead`: to the device beside the run in progress; place_ahead()
  // puts it, with all else that came so, into its value.
  enum class Write : uint8_t { now, ahead };
  // Copies a dense host tensor into an input or external value, in the device's layout. Shapes and
  // types must agree.
  void write(Value v, const Tensor& tensor, Write when = Write::now);
  // Copies an input, output or external value to the host.
  Tensor read(Value v) const;
  // The one element of a scalar output, as double. Several together wait only once.
  double scalar(Value v) const { return scalars({v}).front(); }
  std::vector<double> scalars(std::initializer_list<Value> values) const;
  // All bytes of a dense value, for small things that change from step to step.
  void write_dense(Value v, std::span<const std::byte> content, Write when = Write::now);
  void place_ahead();

  // Throws Error, with the node's name, when a node fails.
  void run();

  const MemoryReport& memory() const { return memory_; }
  struct NodeReport {
    std::string label, problem, implementation;
    double seconds = 0;  // of all profiled runs together
  };
  // One entry a node that runs, in order of execution. Times are the device's, taken while
  // profiling is on.
  std::vector<NodeReport> report() const;
  void set_profiling(bool on) { profiling_ = on; }
  int64_t profiled_runs() const { return profiled_runs_; }
  // While it is on, run() throws Error naming the first node whose result is not finite.
  void set_check_nan(bool on) { debugging_.check_nan = on; }

 private:
  struct Step;
  struct Debugging {  // at first as the environment says
    bool sync = false, check_nan = false;
  };
  struct Planned {
    NodeList list;
    MemoryPlan plan;
  };
  struct Unallocated {};
  Session(const SessionOptions& options, Unallocated);
  Planned select_and_plan(const Graph& graph);
  void bind_memory(const NodeList& list, const MemoryPlan& plan, bool separate);
  void poison();
  void run_nodes();
  void issue(size_t step);
  void begin_times();
  void add_times();
  void check_inputs();
  void check_finite(Value v, const std::string& origin) const;
  const Graph::ValueInfo& check(Value v) const;
  const Graph::ValueInfo& info(Value v) const { return values_[static_cast<size_t>(v.id)]; }
  size_t bytes(Value v) const;
  Staging& staging(Value v) const;
  template <class Fill>
  void upload(Value v, Write when, const Fill& fill);

  SessionOptions options_;
  std::vector<Graph::ValueInfo> values_;
  std::vector<std::byte*> address_;  // one per value
  std::vector<Step> steps_;
  std::vector<Buffer> memory_blocks_;
  MemoryReport memory_;
  Backend* backend_;
  Stream stream_;
  mutable std::map<int, Staging> staging_;  // by value; that of no value serves check_finite
  std::vector<Value> ahead_;                // whose content is there and not in place
  Debugging debugging_;
  bool profiling_ = false, warm_ = false;
  int64_t profiled_runs_ = 0;
  std::vector<std::unique_ptr<Event>> times_;  // before the first node and after each
  std::unique_ptr<CapturedWork> captured_;
};

}  // namespace unetd
