#include "engine/autograd/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>

namespace unetd {

struct Session::Step {
  std::string label, problem;
  std::unique_ptr<BoundKernel> kernel;
  std::vector<const void*> in;
  std::vector<void*> out;
  void* workspace = nullptr;
  double seconds = 0;
};

namespace {

using Role = Graph::Role;

size_t bytes_of(const Graph::ValueInfo& v, Layout layout) {
  return static_cast<size_t>(storage_count(layout, v.kind, v.shape)) * size_of(v.dtype);
}

// Lifetimes of the values, followed by one for the workspace of each node.
std::vector<Interval> intervals_of(const Graph& graph, Layout layout,
                                   const std::vector<size_t>& workspaces) {
  const int steps = static_cast<int>(graph.nodes().size());
  std::vector<Interval> intervals;
  for (const auto& v : graph.values()) {
    const bool planned = v.role != Role::external;
    const bool lasting = v.role == Role::input || v.role == Role::output;
    intervals.push_back(
        {planned ? bytes_of(v, layout) : 0, lasting ? 0 : steps, lasting ? steps : -1});
  }
  for (int i = 0; i < steps; ++i) {
    const auto use = [&](Value v) {
      Interval& interval = intervals[static_cast<size_t>(v.id)];
      if (graph.info(v).role == Role::external) return;
      interval.first = std::min(interval.first, i);
      interval.last = std::max(interval.last, i);
    };
    const auto& node = *graph.nodes()[static_cast<size_t>(i)];
    std::for_each(node.in.begin(), node.in.end(), use);
    std::for_each(node.out.begin(), node.out.end(), use);
  }
  for (int i = 0; i < steps; ++i) {
    const size_t bytes = workspaces[static_cast<size_t>(i)];
    intervals.push_back({bytes, i, bytes > 0 ? i : -1});
  }
  return intervals;
}

}  // namespace

Session::Session(const Graph& graph, const SessionOptions& options)
    : options_(options), values_(graph.values().begin(), graph.values().end()) {
  stream_.device = options.device;
  const Layout layout = layout_of(options.device);
  std::vector<size_t> workspaces;
  for (const auto& node : graph.nodes()) {
    Step step;
    step.label = node->out.empty() ? node->problem() : graph.info(node->out.front()).name;
    step.problem = node->problem();
    try {
      step.kernel = node->bind(options.device, options.kernels);
    } catch (const Error& e) {
      throw Error(str(step.label, ": ", e.what()));
    }
    workspaces.push_back(step.kernel->workspace());
    steps_.push_back(std::move(step));
  }
  const std::vector<Interval> intervals = intervals_of(graph, layout, workspaces);
  const MemoryPlan plan = plan_memory(intervals);
  memory_.arena = plan.bytes;
  memory_.peak_live = plan.peak_live;
  for (const Interval& i : intervals) memory_.sum += i.last < i.first ? 0 : i.bytes;
  bind_memory(graph, plan, options.separate);
  if (verbose("memory")) {
    log_info("arena ", memory_.arena >> 20, " MiB, least possible ", memory_.peak_live >> 20,
             " MiB, without sharing ", memory_.sum >> 20, " MiB");
  }
  if (verbose("kernels")) {
    for (const Step& s : steps_)
      log_info(s.label, ": ", s.problem, " on ", s.kernel->implementation());
  }
}

Session::~Session() {
  if (!verbose("time") || !profiling_) return;
  for (const Step& s : steps_) {
    log_info(s.label, ": ", s.problem, " (", s.kernel->implementation(), ") ", s.seconds, " s");
  }
}

Session::Session(Session&&) noexcept = default;

void Session::bind_memory(const Graph& graph, const MemoryPlan& plan, bool separate) {
  const Layout layout = layout_of(options_.device);
  if (!separate) memory_blocks_.emplace_back(options_.device, plan.bytes);
  const auto place = [&](size_t interval, size_t bytes) {
    if (!separate) return memory_blocks_.front().data() + plan.offset[interval];
    memory_blocks_.emplace_back(options_.device, bytes);
    return memory_blocks_.back().data();
  };
  std::vector<const Buffer*> external;
  for (size_t i = 0; i < values_.size(); ++i) {
    const Graph::ValueInfo& v = values_[i];
    const size_t bytes = bytes_of(v, layout);
    if (v.role != Role::external) {
      address_.push_back(place(i, bytes));
      continue;
    }
    const size_t offset = static_cast<size_t>(v.offset) * size_of(v.dtype);
    UNETD_CHECK(offset + bytes <= v.buffer->bytes(), v.name, " lies beyond its buffer");
    UNETD_CHECK(v.buffer->device() == options_.device, v.name, " is on another device");
    address_.push_back(v.buffer->data() + offset);
    if (std::find(external.begin(), external.end(), v.buffer.get()) == external.end()) {
      external.push_back(v.buffer.get());
      memory_.external += v.buffer->bytes();
    }
  }
  for (size_t i = 0; i < steps_.size(); ++i) {
    const auto& node = *graph.nodes()[i];
    for (const Value v : node.in) steps_[i].in.push_back(address_[static_cast<size_t>(v.id)]);
    for (const Value v : node.out) steps_[i].out.push_back(address_[static_cast<size_t>(v.id)]);
    const size_t workspace = steps_[i].kernel->workspace();
    if (workspace > 0) steps_[i].workspace = place(values_.size() + i, workspace);
  }
}

const Graph::ValueInfo& Session::check(Value v) const {
  UNETD_CHECK(v.id >= 0 && static_cast<size_t>(v.id) < values_.size(), "no such value");
  const Graph::ValueInfo& info = values_[static_cast<size_t>(v.id)];
  UNETD_CHECK(info.role != Role::activation, info.name,
              " shares its memory with other values: mark it as an output");
  return info;
}

void Session::write(Value v, const Tensor& tensor) {
  const Graph::ValueInfo& info = check(v);
  UNETD_CHECK(tensor.shape() == info.shape && tensor.dtype() == info.dtype, info.name, " is ",
              name_of(info.dtype), " ", info.shape, ", given ", name_of(tensor.dtype()), " ",
              tensor.shape());
  pack(tensor, info.kind, layout_of(options_.device), address_[static_cast<size_t>(v.id)]);
}

Tensor Session::read(Value v) const {
  const Graph::ValueInfo& info = check(v);
  return unpack(address_[static_cast<size_t>(v.id)], info.kind, layout_of(options_.device),
                info.shape, info.dtype);
}

double Session::scalar(Value v) const {
  const Graph::ValueInfo& info = check(v);
  UNETD_CHECK(info.shape.count() == 1, info.name, " is no scalar");
  const std::byte* at = address_[static_cast<size_t>(v.id)];
  if (info.dtype == DType::f64) return *reinterpret_cast<const double*>(at);
  UNETD_CHECK(info.dtype == DType::f32, info.name, " is ", name_of(info.dtype));
  return *reinterpret_cast<const float*>(at);
}

void* Session::data(Value v) {
  UNETD_CHECK(check(v).kind == Kind::dense, "only dense values can be written in place");
  return address_[static_cast<size_t>(v.id)];
}

// All bits set is NaN in every floating-point type.
void Session::poison() {
  const Layout layout = layout_of(options_.device);
  for (size_t i = 0; i < values_.size(); ++i) {
    const Role role = values_[i].role;
    if (role == Role::external || role == Role::input) continue;
    std::memset(address_[i], 0xFF, bytes_of(values_[i], layout));
  }
}

void Session::run() {
  if (options_.separate) poison();
  using Clock = std::chrono::steady_clock;
  for (Step& s : steps_) {
    const Clock::time_point start = profiling_ ? Clock::now() : Clock::time_point{};
    s.kernel->run(s.in, s.out, s.workspace, stream_);
    if (profiling_) s.seconds += std::chrono::duration<double>(Clock::now() - start).count();
  }
}

std::vector<Session::NodeReport> Session::report() const {
  std::vector<NodeReport> nodes;
  for (const Step& s : steps_) {
    nodes.push_back({s.label, s.problem, std::string(s.kernel->implementation()), s.seconds});
  }
  return nodes;
}

}  // namespace unetd
