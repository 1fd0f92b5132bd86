// Runs any implementation of any problem on seeded inputs and says what is wrong with it: writes
// out of bounds, outputs left unwritten, inputs changed, padding that is not zero, runs that
// differ, results that differ from the reference in f64.
#pragma once

#include "engine/memory/buffer.h"
#include "kernels/simt/simt.h"
#include "tests/support/cases.h"
#include "tests/support/compare.h"
#include "tests/support/data.h"
#include "tests/support/guarded.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace unetd {

// The buffers of one run in a device's layout.
struct DeviceData {
  std::vector<GuardedBuffer> in, out;

  DeviceData(const Signature& signature, const HostData& data, Layout layout) {
    const auto place = [&](const BufferSpec& spec, const Tensor& content) {
      GuardedBuffer buffer(storage_bytes(spec, layout));
      if (!content.empty()) pack(content, spec.kind, layout, buffer.data());
      return buffer;
    };
    for (size_t i = 0; i < signature.in.size(); ++i) {
      in.push_back(place(signature.in[i], data.in[i]));
    }
    for (size_t i = 0; i < signature.out.size(); ++i) {
      out.push_back(place(signature.out[i], data.out[i]));
    }
  }
};

inline bool same_bytes(const GuardedBuffer& a, const GuardedBuffer& b) {
  return std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

// What a kernel on `device` works with in place of a guarded buffer: on cpu and simt the buffer
// itself, so that the address sanitizer sees every access; on a GPU a copy of it, red zones and
// all, which goes back when the kernel has run.
class OnDevice {
 public:
  OnDevice(const GuardedBuffer& home, DeviceType device) : home_(home) {
    if (device != DeviceType::cuda) return;
    staging_.emplace(device);
    home_.with_zones([&](std::span<std::byte> all) {
      copy_ = Buffer(device, all.size());
      staging_->upload(copy_.data(), all.size(),
                       [&](std::byte* host) { std::ranges::copy(all, host); });
    });
  }
  std::byte* data() const { return staging_ ? copy_.data() + home_.offset() : home_.data(); }
  void bring_home() {
    if (!staging_) return;
    home_.with_zones([&](std::span<std::byte> all) {
      staging_->download(copy_.data(), all.size(),
                         [&](const std::byte* host) { std::copy_n(host, all.size(), all.data()); });
    });
  }

 private:
  const GuardedBuffer& home_;
  std::optional<Staging> staging_;
  Buffer copy_;
};

// Runs the kernel in place on `data`. Returns whether the workspace's red zones were left alone.
template <class P>
bool run_on(const P& problem, const Kernel<P>& kernel, DeviceType device, const DeviceData& data) {
  const GuardedBuffer workspace(kernel.workspace());
  std::deque<OnDevice> all;  // inputs, outputs, workspace
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const GuardedBuffer& b : data.in) in.push_back(all.emplace_back(b, device).data());
  for (const GuardedBuffer& b : data.out) out.push_back(all.emplace_back(b, device).data());
  std::byte* const scratch = all.emplace_back(workspace, device).data();
  Stream stream = backend(device).stream();
  kernel.run(problem.bind(in, out), scratch, stream);
  for (OnDevice& b : all) b.bring_home();
  return workspace.intact();
}

// The outputs that the reference computes in f64 on the CPU.
template <class P>
std::vector<Tensor> reference(const P& problem, const HostData& data) {
  const P precise = with_dtype(problem, DType::f64);
  const Signature signature = describe(precise);
  const Layout layout = layout_of(DeviceType::cpu);
  const DeviceData buffers(signature, converted(data, signature), layout);
  run_on(precise, *select(precise, DeviceType::cpu, KernelChoice("*=ref")).make(precise),
         DeviceType::cpu, buffers);
  std::vector<Tensor> result;
  for (size_t i = 0; i < signature.out.size(); ++i) {
    const BufferSpec& spec = signature.out[i];
    result.push_back(unpack(buffers.out[i].data(), spec.kind, layout, spec.shape, spec.dtype));
  }
  return result;
}

// Are all elements that belong to no channel zero?
inline bool padding_is_zero(const BufferSpec& spec, Layout layout, const GuardedBuffer& buffer) {
  Tensor ones(spec.shape, DType::u8);
  std::ranges::fill(ones.span<uint8_t>(), uint8_t{1});
  std::vector<uint8_t> used(storage_bytes(spec, layout) / size_of(spec.dtype));
  pack(ones, spec.kind, layout, used.data());
  bool zero = true;
  with_element(spec.dtype, [&]<class T>(T) {
    const T* elements = reinterpret_cast<const T*>(buffer.data());
    for (size_t i = 0; i < used.size(); ++i) zero = zero && (used[i] == 1 || elements[i] == T{});
  });
  return zero;
}

// What one finished run did wrong, apart from its values.
inline void append_memory_faults(const Signature& signature, const HostData& host, Layout layout,
                                 const DeviceData& run, std::vector<std::string>& faults) {
  const DeviceData before(signature, host, layout);
  for (size_t i = 0; i < run.in.size(); ++i) {
    const std::string& name = signature.in[i].name;
    if (!run.in[i].intact()) faults.push_back(str("writes beyond ", name));
    if (!same_bytes(run.in[i], before.in[i])) faults.push_back(str("changes its input ", name));
  }
  for (size_t i = 0; i < run.out.size(); ++i) {
    const BufferSpec& spec = signature.out[i];
    if (!run.out[i].intact()) faults.push_back(str("writes beyond ", spec.name));
    if (!padding_is_zero(spec, layout, run.out[i])) {
      faults.push_back(str("padding of ", spec.name, " is not zero"));
    }
  }
}

// The ways to run a kernel that must all give the same bits: twice as it is, on the emulator in
// different orders of the lanes.
struct LaneOrder {
  explicit LaneOrder(simt::Order order) { simt::options().order = order; }
  LaneOrder(const LaneOrder&) = delete;
  LaneOrder& operator=(const LaneOrder&) = delete;
  ~LaneOrder() { simt::options() = {}; }
};
inline std::vector<simt::Order> orders_of(DeviceType device) {
  if (device != DeviceType::simt) return {simt::Order::forward, simt::Order::forward};
  return {simt::Order::forward, simt::Order::reverse, simt::Order::shuffled};
}

// The outputs of a problem some of which are defined by the first one as it is stored, computed
// from that one (`with_result(problem, inputs, first)`, tests/cases); none for other problems. The
// first of them is of no use.
template <class P>
std::vector<Tensor> outputs_from_first(const P& problem, const HostData& host,
                                       const Tensor& first) {
  if constexpr (requires { with_result(problem, host.in, first); }) {
    auto [again, in] = with_result(problem, host.in, first);
    HostData data{.in = std::move(in), .out = {}};
    for (const Tensor& t : host.out) data.out.push_back(t.empty() ? Tensor{} : t.clone());
    return reference(again, data);
  } else {
    return {};
  }
}

// Everything wrong with an implementation on a problem that it takes; `want` is reference(...).
template <class P>
std::vector<std::string> faults_of(const Impl<P>& impl, const P& problem, DeviceType device,
                                   const HostData& host, const std::vector<Tensor>& want) {
  const Signature signature = describe(problem);
  const Layout layout = layout_of(device);
  const std::unique_ptr<Kernel<P>> kernel = impl.make(problem);
  std::vector<DeviceData> runs;
  std::vector<std::string> faults;
  for (const simt::Order order : orders_of(device)) {
    const LaneOrder scope(order);
    runs.emplace_back(signature, host, layout);
    if (!run_on(problem, *kernel, device, runs.back())) faults.emplace_back("overruns workspace");
    append_memory_faults(signature, host, layout, runs.back(), faults);
  }
  std::vector<Tensor> from_first;
  for (size_t i = 0; i < signature.out.size(); ++i) {
    const BufferSpec& spec = signature.out[i];
    for (const DeviceData& run : runs) {
      if (!same_bytes(run.out[i], runs[0].out[i])) faults.push_back(spec.name + " differs by run");
    }
    const Tensor got = unpack(runs[0].out[i].data(), spec.kind, layout, spec.shape, spec.dtype);
    if (i == 0) from_first = outputs_from_first(problem, host, got);
    const Tensor& right = i == 0 || from_first.empty() ? want[i] : from_first[i];
    Tolerance allowed = tolerance(spec.dtype, spec.reduction);
    if (impl.rounds_to_storage) allowed = with_rounding(allowed, problem.dtype);
    const std::string wrong = difference(got, right, allowed);
    if (!wrong.empty()) faults.push_back(str(spec.name, ": ", wrong));
  }
  return faults;
}

}  // namespace unetd
