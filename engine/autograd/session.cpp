#include "engine/autograd/session.h"

#include "engine/autograd/tuner.h"
#include "engine/base/half.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <utility>

namespace unetd {

struct Session::Step {
  std::string label, problem;
  std::unique_ptr<BoundKernel> kernel;
  std::vector<const void*> in;
  std::vector<void*> out;
  std::vector<Value> results;  // of `out`
  void* workspace = nullptr;
  double seconds = 0;
};

namespace {

using Role = Graph::Role;

size_t bytes_of(const Graph::ValueInfo& v, Layout layout) {
  return static_cast<size_t>(storage_count(layout, v.kind, v.shape)) * size_of(v.dtype);
}

bool switched_on(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr && std::string_view(value) == "1";
}

// How many of the elements are NaN or infinite. 0 for integers.
size_t count_not_finite(const std::byte* content, size_t bytes, DType dtype) {
  const auto count = [&]<class T>(T, auto&& number) {
    const std::span<const T> elements(reinterpret_cast<const T*>(content), bytes / sizeof(T));
    return static_cast<size_t>(
        std::ranges::count_if(elements, [&](const T& x) { return !std::isfinite(number(x)); }));
  };
  const auto as_float = [](auto x) { return to_float(x); };
  switch (dtype) {
    case DType::f64:
      return count(double{}, [](double x) { return x; });
    case DType::f32:
      return count(float{}, as_float);
    case DType::bf16:
      return count(bf16{}, as_float);
    case DType::f16:
      return count(f16{}, as_float);
    default:
      return 0;
  }
}

// Lifetimes of the values, followed by one for the workspace of each node.
std::vector<Interval> intervals_of(const Graph& graph, const NodeList& list, Layout layout,
                                   const std::vector<size_t>& workspaces) {
  const int steps = static_cast<int>(list.nodes.size());
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
    const auto& node = *list.nodes[static_cast<size_t>(i)];
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

Session::Session(const SessionOptions& options, Unallocated)
    : options_(options), backend_(&backend(options.device)), stream_(backend_->stream()) {}

Session::Session(const Graph& graph, const SessionOptions& options)
    : Session(options, Unallocated{}) {
  debugging_ = {switched_on("UNETD_SYNC"), switched_on("UNETD_CHECK_NAN")};
  profiling_ = verbose("time");
  values_.assign(graph.values().begin(), graph.values().end());
  const auto [list, plan] = select_and_plan(graph);
  bind_memory(list, plan, options.separate);
  if (verbose("memory")) {
    log_info("arena ", memory_.arena >> 20, " MiB, least possible ", memory_.peak_live >> 20,
             " MiB, without sharing ", memory_.sum >> 20, " MiB");
  }
  if (verbose("kernels")) {
    for (const Step& s : steps_)
      log_info(s.label, ": ", s.problem, " on ", s.kernel->implementation());
  }
}

size_t Session::arena_of(const Graph& graph, const SessionOptions& options) {
  SessionOptions unmeasured = options;
  unmeasured.tuner = nullptr;
  Session session(unmeasured, Unallocated{});
  return session.select_and_plan(graph).plan.bytes;
}

// Leaves steps that lack their pointers.
Session::Planned Session::select_and_plan(const Graph& graph) {
  NodeList list = fuse(graph, options_.device, options_.kernels);
  std::vector<size_t> workspaces;
  for (const Graph::Node* const node : list.nodes) {
    Step step;
    step.label = node->out.empty() ? node->problem() : graph.info(node->out.front()).name;
    step.problem = node->problem();
    try {
      step.kernel = options_.tuner ? options_.tuner->bind(graph, *node, options_.kernels)
                                   : node->bind(options_.device, options_.kernels);
    } catch (const OutOfMemory&) {
      throw;
    } catch (const Error& e) {
      throw Error(str(step.label, ": ", e.what()));
    }
    workspaces.push_back(step.kernel->workspace());
    steps_.push_back(std::move(step));
  }
  if (options_.tuner) options_.tuner->save();
  const std::vector<Interval> intervals =
      intervals_of(graph, list, layout_of(options_.device), workspaces);
  MemoryPlan plan = plan_memory(intervals);
  memory_.arena = plan.bytes;
  memory_.peak_live = plan.peak_live;
  for (const Interval& i : intervals) memory_.sum += i.last < i.first ? 0 : i.bytes;
  return {std::move(list), std::move(plan)};
}

Session::~Session() {
  if (!verbose("time") || !profiling_) return;
  for (const Step& s : steps_) {
    log_info(s.label, ": ", s.problem, " (", s.kernel->implementation(), ") ", s.seconds, " s");
  }
}

Session::Session(Session&&) noexcept = default;

void Session::bind_memory(const NodeList& list, const MemoryPlan& plan, bool separate) {
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
    const auto& node = *list.nodes[i];
    for (const Value v : node.in) steps_[i].in.push_back(address_[static_cast<size_t>(v.id)]);
    for (const Value v : node.out) steps_[i].out.push_back(address_[static_cast<size_t>(v.id)]);
    steps_[i].results = node.out;
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

size_t Session::bytes(Value v) const { return bytes_of(info(v), layout_of(options_.device)); }

Staging& Session::staging(Value v) const {
  return staging_.try_emplace(v.id, options_.device).first->second;
}

// fill(host) writes the bytes of the value in the device's layout.
template <class Fill>
void Session::upload(Value v, Write when, const Fill& fill) {
  if (when == Write::now) {
    return staging(v).upload(address_[static_cast<size_t>(v.id)], bytes(v), fill);
  }
  staging(v).begin_upload(bytes(v), fill);
  if (std::ranges::find(ahead_, v.id, &Value::id) == ahead_.end()) ahead_.push_back(v);
}

void Session::place_ahead() {
  for (const Value v : std::exchange(ahead_, {})) {
    staging(v).finish_upload(address_[static_cast<size_t>(v.id)]);
  }
}

void Session::write(Value v, const Tensor& tensor, Write when) {
  const Graph::ValueInfo& info = check(v);
  UNETD_CHECK(tensor.shape() == info.shape && tensor.dtype() == info.dtype, info.name, " is ",
              name_of(info.dtype), " ", info.shape, ", given ", name_of(tensor.dtype()), " ",
              tensor.shape());
  upload(v, when,
         [&](std::byte* host) { pack(tensor, info.kind, layout_of(options_.device), host); });
}

void Session::write_dense(Value v, std::span<const std::byte> content, Write when) {
  const Graph::ValueInfo& info = check(v);
  UNETD_CHECK(info.kind == Kind::dense && content.size() == bytes(v), info.name, " is ", bytes(v),
              " bytes, given ", content.size());
  upload(v, when, [&](std::byte* host) { std::ranges::copy(content, host); });
}

Tensor Session::read(Value v) const {
  const Graph::ValueInfo& info = check(v);
  return staging(v).download(
      address_[static_cast<size_t>(v.id)], bytes(v), [&](const std::byte* host) {
        return unpack(host, info.kind, layout_of(options_.device), info.shape, info.dtype);
      });
}

std::vector<double> Session::scalars(std::initializer_list<Value> values) const {
  for (const Value v : values) {
    const Graph::ValueInfo& value = check(v);
    UNETD_CHECK(value.shape.count() == 1, value.name, " is no scalar");
    UNETD_CHECK(value.dtype == DType::f32 || value.dtype == DType::f64, value.name, " is ",
                name_of(value.dtype));
    staging(v).begin_download(address_[static_cast<size_t>(v.id)], bytes(v));
  }
  std::vector<double> result;
  for (const Value v : values) {
    const std::byte* const at = staging(v).finish_download();
    result.push_back(info(v).dtype == DType::f64 ? *reinterpret_cast<const double*>(at)
                                                 : *reinterpret_cast<const float*>(at));
  }
  return result;
}

// All bits set is NaN in every floating-point type.
void Session::poison() {
  constexpr unsigned char ones = 0xFF;
  const Layout layout = layout_of(options_.device);
  for (size_t i = 0; i < values_.size(); ++i) {
    const Role role = values_[i].role;
    if (role == Role::external || role == Role::input) continue;
    backend_->fill(address_[i], ones, bytes_of(values_[i], layout), stream_);
  }
}

void Session::run() {
  stream_ = backend_->stream();  // throws where the device broke before
  if (options_.separate) poison();
  if (profiling_ || debugging_.sync || debugging_.check_nan) return run_nodes();
  if (captured_) return captured_->launch(stream_);
  if (warm_) captured_ = backend_->capture(stream_, [this] { run_nodes(); });
  warm_ = true;
  if (captured_) return captured_->launch(stream_);
  run_nodes();
}

void Session::run_nodes() {
  if (debugging_.check_nan) check_inputs();
  if (profiling_) begin_times();
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& s = steps_[i];
    try {
      issue(i);
    } catch (const Error& e) {
      throw Error(
          str(s.label, " (", s.problem, " by ", s.kernel->implementation(), "): ", e.what()));
    }
    if (!debugging_.check_nan) continue;
    for (const Value v : s.results) {
      check_finite(v, str(s.problem, " by ", s.kernel->implementation()));
    }
  }
  if (profiling_) add_times();
  profiled_runs_ += profiling_ ? 1 : 0;
}

void Session::issue(size_t step) {
  const Step& s = steps_[step];
  const Range range(*backend_, s.label.c_str());
  s.kernel->run(s.in, s.out, s.workspace, stream_);
  if (profiling_) times_[step + 1]->record(stream_);
  if (debugging_.sync) backend_->sync(stream_);
}

void Session::begin_times() {
  while (times_.size() <= steps_.size()) times_.push_back(backend_->make_event());
  times_.front()->record(stream_);
}

void Session::add_times() {
  times_.back()->wait();
  for (size_t i = 0; i < steps_.size(); ++i) {
    steps_[i].seconds += times_[i + 1]->seconds_since(*times_[i]);
  }
}

void Session::check_inputs() {
  for (size_t i = 0; i < values_.size(); ++i) {
    // Raw samples may be NaN where there are no data, and constants infinite: they are dense.
    const bool dense = values_[i].kind == Kind::dense;
    if (values_[i].role == Role::input && !dense) check_finite({static_cast<int>(i)}, "an input");
  }
}

void Session::check_finite(Value v, const std::string& origin) const {
  const Graph::ValueInfo& value = info(v);
  if (value.has_gaps) return;
  const size_t size = bytes(v);
  const size_t bad = staging({}).download(
      address_[static_cast<size_t>(v.id)], size,
      [&](const std::byte* host) { return count_not_finite(host, size, value.dtype); });
  if (bad == 0) return;
  throw Error(str(value.name, " (", origin, ") is not finite: ", bad, " of ",
                  size / size_of(value.dtype), " elements are NaN or infinite"));
}

std::vector<Session::NodeReport> Session::report() const {
  std::vector<NodeReport> nodes;
  for (const Step& s : steps_) {
    nodes.push_back({s.label, s.problem, std::string(s.kernel->implementation()), s.seconds});
  }
  return nodes;
}

}  // namespace unetd
