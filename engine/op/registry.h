// The contract between operations and their implementations.
//
// A problem is a small plain struct that says everything about one operation but its data: shapes,
// element type, parameters. It names itself, lists its buffers and binds them to pointers:
//
//   struct Relu {
//     static constexpr const char* name = "relu";
//     Shape shape;
//     DType dtype;
//     struct Buffers { const void* x; void* y; };
//     Buffers bind(In in, Out out) const { return {in[0], out[0]}; }
//   };
//
// Implementations of a problem form an ordered list per device, best first and the reference last.
// Each can decline a problem with a reason, and any can be forced by name. Tests, benchmarks and
// `unetd-info kernels` walk the same lists.
//
// Numerics contract, tested: a problem's `dtype` is the storage type of its images and filters
// (f32, bf16, f16; f64 on the CPU's reference). Biases, batch-norm parameters and statistics,
// losses and the gradients of all parameters are of wide_type(dtype): f32, or f64 when the problem
// is f64. Reductions and matrix products accumulate in f32 at least; sums have a fixed order, so
// the same inputs give the same bits on the same device with the same number of threads.
#pragma once

#include "engine/base/dtype.h"
#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/device/device.h"
#include "engine/tensor/shape.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace unetd {

using In = std::span<const void* const>;
using Out = std::span<void* const>;

// A problem made ready to run: whatever an implementation builds once (library objects, tile sizes)
// lives here, and nothing is built or allocated in run().
template <class P>
struct Kernel {
  virtual ~Kernel() = default;
  // Bytes of scratch memory that run() gets, 256-byte aligned, content undefined.
  virtual size_t workspace() const { return 0; }
  virtual void run(const typename P::Buffers& buffers, void* workspace, Stream& stream) const = 0;
};

template <class P>
struct Impl {
  std::string_view name;                         // "ref", "eigen", "onednn", "cuda", ...
  const char* (*reject)(const P&);               // nullptr: takes it; else the reason why not
  std::unique_ptr<Kernel<P>> (*make)(const P&);  // only for problems it takes
};

// The list for one device, in order of preference.
template <class P>
std::vector<Impl<P>>& impls(DeviceType device) {
  static std::vector<Impl<P>> lists[device_types];
  return lists[static_cast<size_t>(device)];
}

template <class P>
const char* take_all(const P&) {
  return nullptr;
}

// Appends an implementation whose kernels are objects of type K, made from the problem.
template <class P, class K>
void add_kernel(DeviceType device, std::string_view name, const char* (*reject)(const P&)) {
  impls<P>(device).push_back({name, reject, [](const P& p) -> std::unique_ptr<Kernel<P>> {
                                return std::make_unique<K>(p);
                              }});
}

namespace detail {
template <class P, void (*run_function)(const P&, const typename P::Buffers&)>
struct FunctionKernel final : Kernel<P> {
  explicit FunctionKernel(const P& p) : problem(p) {}
  void run(const typename P::Buffers& buffers, void*, Stream&) const override {
    run_function(problem, buffers);
  }
  P problem;
};
}  // namespace detail

// Appends a plain function that needs no preparation and no scratch memory.
template <auto run_function, class P>
void add_function(DeviceType device, std::string_view name,
                  const char* (*reject)(const P&) = take_all<P>) {
  add_kernel<P, detail::FunctionKernel<P, run_function>>(device, name, reject);
}

// Which implementation to use where the order of preference is not wanted: "conv2d=eigen,relu=ref".
// "*=ref" stands for every problem that is not named, "conv2d=-eigen" for any but that one. Throws
// UsageError for other forms. What it says of problems that only fusion makes is told in
// engine/autograd/fusion.h.
class KernelChoice {
 public:
  KernelChoice() = default;
  explicit KernelChoice(std::string_view spec);
  // The name forced for a problem, '-' and the name that is excluded, or empty.
  std::string_view forced(std::string_view problem) const;
  // Is the problem named itself, and not only by "*"?
  bool names(std::string_view problem) const;

 private:
  std::vector<std::pair<std::string, std::string>> choices_;
};

// The first implementation in order that takes the problem, or the forced one if it does. Null
// where there is none; `why`, if given, then has every reason.
template <class P>
const Impl<P>* find(const P& problem, DeviceType device, const KernelChoice& choice = {},
                    std::string* why = nullptr) {
  const std::string_view forced = choice.forced(P::name);
  const bool excluding = forced.starts_with('-');
  std::string reasons;
  for (const Impl<P>& impl : impls<P>(device)) {
    const bool named = impl.name == forced.substr(excluding ? 1 : 0);
    if (!forced.empty() && named == excluding) continue;
    const char* reason = impl.reject(problem);
    if (reason == nullptr) return &impl;
    reasons += str(reasons.empty() ? " " : "; ", impl.name, ": ", reason);
  }
  if (reasons.empty())
    reasons = forced.empty() ? " none is registered" : str(" there is no '", forced, "'");
  if (why != nullptr) *why = reasons;
  return nullptr;
}

// The same, but throws Error that lists every reason when there is none.
template <class P>
const Impl<P>& select(const P& problem, DeviceType device, const KernelChoice& choice = {}) {
  std::string why;
  const Impl<P>* const impl = find(problem, device, choice, &why);
  if (impl != nullptr) return *impl;
  throw Error(str("no implementation of ", P::name, " on ", name_of(device), ":", why));
}

}  // namespace unetd
