#include "tools/bench/ops.h"

#include "engine/device/timing.h"
#include "engine/memory/buffer.h"
#include "tests/cases/all.h"
#include "tests/support/data.h"

#include <algorithm>
#include <optional>
#include <string_view>

namespace unetd::bench {
namespace {

// The buffers of one problem, filled as its cases say and shared by all implementations: those in
// place go on from what the run before left.
class CaseData {
 public:
  CaseData(const Signature& signature, DeviceType device) : device_(device), staging_(device) {
    const HostData host = make_data(signature);
    for (size_t i = 0; i < signature.in.size(); ++i) {
      in_.push_back(place(signature.in[i], host.in[i]));
    }
    for (size_t i = 0; i < signature.out.size(); ++i) {
      out_.push_back(place(signature.out[i], host.out[i]));
    }
  }
  In in() const { return in_; }
  Out out() const { return out_; }

 private:
  std::byte* place(const BufferSpec& spec, const Tensor& content) {
    const Layout layout = layout_of(device_);
    const Buffer& buffer = buffers_.emplace_back(device_, storage_bytes(spec, layout));
    if (!content.empty()) {
      staging_.upload(buffer.data(), buffer.bytes(),
                      [&](std::byte* host) { pack(content, spec.kind, layout, host); });
    }
    return buffer.data();
  }

  DeviceType device_;
  Staging staging_;
  std::vector<Buffer> buffers_;
  std::vector<const void*> in_;
  std::vector<void*> out_;
};

template <class P>
OpTiming time_implementation(const Impl<P>& impl, const P& problem, const CaseData& data,
                             const OpsOptions& options) {
  const std::unique_ptr<Kernel<P>> kernel = impl.make(problem);
  const Buffer workspace(options.device, kernel->workspace());
  const typename P::Buffers buffers = problem.bind(data.in(), data.out());
  Backend& device = backend(options.device);
  Stream stream = device.stream();
  const DeviceTimer timer(device);
  const std::vector<double> seconds = repeat(
      options.seconds, [&] { flush_caches(options.device); },
      [&] { return timer([&] { kernel->run(buffers, workspace.data(), stream); }); });
  return {std::string(impl.name), median(seconds), seconds.size(), impl.rounds_to_storage};
}

template <class P>
void keep_fastest(const P& problem, const std::vector<OpTiming>& timings, TuneStore& store) {
  std::vector<std::string_view> names;
  names.reserve(timings.size());
  for (const OpTiming& t : timings) {
    if (!t.rounds) names.push_back(t.implementation);
  }
  names = competitors(names);
  if (names.size() < 2) return;
  std::vector<double> seconds;
  for (const OpTiming& t : timings) {
    if (std::ranges::find(names, t.implementation) != names.end()) seconds.push_back(t.seconds);
  }
  store.add(identity_of(problem), names, names[fastest(seconds)]);
}

template <class P>
void time_case(const P& problem, const OpsOptions& options,
               const std::function<void(const OpCase&)>& done) {
  OpCase result{P::name, text_of(problem), problem.dtype,
                static_cast<double>(bytes(problem, options.device)),
                static_cast<double>(flops(problem))};
  if (result.text.find(options.filter) == std::string::npos) return;
  const KernelChoice choice(options.impl.empty() ? "" : "*=" + options.impl);
  const auto wanted = takers(problem, options.device, choice);
  if (wanted.empty()) return;
  const CaseData data(describe(problem), options.device);
  for (const Impl<P>* impl : wanted) {
    result.timings.push_back(time_implementation(*impl, problem, data, options));
  }
  if (options.tuned != nullptr) keep_fastest(problem, result.timings, *options.tuned);
  done(result);
}

template <class P>
void time_cases(const OpsOptions& options, const std::function<void(const OpCase&)>& done) {
  for (const DType dtype : storage_types(options.device)) {
    for (const P& problem : cases<P>().perf) time_case(with_dtype(problem, dtype), options, done);
  }
}

}  // namespace

Peak measure_roofs(DeviceType device) {
  Peak peak = measure_peak(device);
  if (device == DeviceType::cpu) return peak;
  // A 1x1 convolution is a matrix product; of the emulator a small one.
  const int64_t side = device == DeviceType::cuda ? 4096 : 32;
  const OpsOptions options{.device = device, .seconds = 0.05};
  for (const DType dtype : storage_types(device)) {
    const Conv2d product{
        .geometry = {.x = {2, side / 32, 32, side}, .k = side, .r = 1, .s = 1, .pad = 0},
        .dtype = dtype};
    const CaseData data(describe(product), device);
    for (const Impl<Conv2d>* impl : takers(product, device)) {
      const double seconds = time_implementation(*impl, product, data, options).seconds;
      double& best = peak.flops[dtype];
      best = std::max(best, static_cast<double>(flops(product)) / seconds);
    }
  }
  return peak;
}

const OpTiming& OpCase::fastest() const {
  return *std::min_element(
      timings.begin(), timings.end(),
      [](const OpTiming& a, const OpTiming& b) { return a.seconds < b.seconds; });
}

double OpCase::share_of_peak(const OpTiming& timing, const Peak& peak) const {
  const auto roof = peak.flops.find(dtype);
  const double computing = roof == peak.flops.end() ? 0 : flops / roof->second;
  return std::max(bytes / peak.bytes, computing) / timing.seconds;
}

void time_ops(const OpsOptions& options, const std::function<void(const OpCase&)>& done) {
  std::optional<MeasuredPlans> plans;
  if (options.tuned != nullptr) plans.emplace();
  for_each_problem([&]<class P>() { time_cases<P>(options, done); });
}

}  // namespace unetd::bench
