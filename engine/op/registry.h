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
// Implementations that keep all of it but round results of wide_type(dtype) to `dtype` once must
// say so (Impl::rounds_to_storage), and stand behind one that does not.
#pragma once

#include "engine/base/cache.h"
#include "engine/base/dtype.h"
#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/device/device.h"
#include "engine/tensor/shape.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
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
  bool rounds_to_storage = false;                // one rounding more than the contract has
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
void add_kernel(DeviceType device, std::string_view name, const char* (*reject)(const P&),
                bool rounds_to_storage = false) {
  const auto make = [](const P& p) -> std::unique_ptr<Kernel<P>> { return std::make_unique<K>(p); };
  impls<P>(device).push_back({name, reject, make, rounds_to_storage});
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
  bool allows(std::string_view problem, std::string_view implementation) const;
  // Is the problem named itself, and not only by "*"?
  bool names(std::string_view problem) const;

 private:
  std::vector<std::pair<std::string, std::string>> choices_;
};

// The implementations that take the problem, of those that are allowed, in order of preference.
template <class P>
std::vector<const Impl<P>*> takers(const P& problem, DeviceType device,
                                   const KernelChoice& choice = {}) {
  std::vector<const Impl<P>*> found;
  for (const Impl<P>& impl : impls<P>(device)) {
    if (choice.allows(P::name, impl.name) && impl.reject(problem) == nullptr)
      found.push_back(&impl);
  }
  return found;
}

// The first of them. Throws Error that lists every reason when there is none.
template <class P>
const Impl<P>& select(const P& problem, DeviceType device, const KernelChoice& choice = {}) {
  std::string why;
  for (const Impl<P>& impl : impls<P>(device)) {
    if (!choice.allows(P::name, impl.name)) continue;
    const char* reason = impl.reject(problem);
    if (reason == nullptr) return impl;
    why += str(why.empty() ? " " : "; ", impl.name, ": ", reason);
  }
  const std::string_view forced = choice.forced(P::name);
  if (why.empty())
    why = forced.empty() ? " none is registered" : str(" there is no '", forced, "'");
  throw Error(str("no implementation of ", P::name, " on ", name_of(device), ":", why));
}

// --- measured choices ------------------------------------------------------------------------

// A problem as a short text: the same for equal problems, and for no others.
template <class P>
std::string identity_of(const P& problem) {
  static_assert(std::is_trivially_copyable_v<P>);
  std::string bytes(sizeof(P), '\0');
  std::memcpy(bytes.data(), &problem, sizeof(P));
  for (char& byte : bytes) {
    const char content = byte;
    byte = static_cast<char>(content ^ 1);
    P changed = problem;
    std::memcpy(&changed, bytes.data(), sizeof(P));
    byte = changed == problem ? '\0' : content;  // what makes no difference is padding
  }
  return str(P::name, ' ', checksum(bytes));
}

// As long as one lives, kernels that this thread makes measure what a library offers them (plans,
// algorithms) instead of taking what it ranks first.
class MeasuredPlans {
 public:
  MeasuredPlans() { ++count(); }
  MeasuredPlans(const MeasuredPlans&) = delete;
  MeasuredPlans& operator=(const MeasuredPlans&) = delete;
  ~MeasuredPlans() { --count(); }
  static bool wanted() { return count() > 0; }

 private:
  static int& count();
};

// Names and versions of the libraries behind a device's implementations ("oneDNN 3.7"), which add
// themselves: what was measured with another version says nothing.
std::vector<std::string>& libraries(DeviceType device);

}  // namespace unetd
