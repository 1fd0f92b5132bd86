// The lists of problems that tests and benchmarks share, and what one must know to run a problem
// without knowing it: its buffers. Every operation has a header in tests/cases/ that provides
//
//   Signature describe(const P&);            the buffers, in the order of P::bind
//   template <> Cases<P> cases<P>();         small problems full of edges; real ones for timing
//
// and, where outputs are defined by the first one as it is stored, with_result() as Conv2dStats
// does.
#pragma once

#include "engine/op/registry.h"
#include "engine/tensor/layout.h"

#include <span>
#include <string>
#include <vector>

namespace unetd {

// What a buffer is filled with. Fixed seeds make it the same in every run.
struct Fill {
  enum class Rule : uint8_t {
    uniform,    // in [low, high)
    integers,   // in [low, high], both included
    fractions,  // multiples of 1 / high in [0, 1]
    labels,     // classes 0 to high, now and then 255 (ignore) or a class that does not exist
    list,       // `values`
  };
  Rule rule = Rule::uniform;
  double low = -1, high = 1;
  std::vector<double> values;
};
inline Fill uniform(double low, double high) { return {Fill::Rule::uniform, low, high, {}}; }
inline Fill integers(double low, double high) { return {Fill::Rule::integers, low, high, {}}; }
inline Fill fractions(int64_t parts) {
  return {Fill::Rule::fractions, 0, static_cast<double>(parts), {}};
}
inline Fill labels(int64_t classes) {
  return {Fill::Rule::labels, 0, static_cast<double>(classes - 1), {}};
}
inline Fill list(std::vector<double> values) { return {Fill::Rule::list, 0, 0, std::move(values)}; }

struct BufferSpec {
  std::string name;
  Shape shape;
  Kind kind = Kind::features;
  DType dtype = DType::f32;
  Fill fill = {};         // of an input
  bool in_place = false;  // an output that is read first: filled as an input is
  // Of an output: how many terms a rounding error can gather from. 0: it must be exact.
  int64_t reduction = 1;
};

struct Signature {
  std::vector<BufferSpec> in, out;
};

template <class P>
struct Cases {
  std::vector<P> test, perf;
};
template <class P>
Cases<P> cases();

inline Shape vector_shape(int64_t count) { return {1, 1, 1, count}; }

inline size_t storage_bytes(const BufferSpec& spec, Layout layout) {
  return static_cast<size_t>(storage_count(layout, spec.kind, spec.shape)) * size_of(spec.dtype);
}

// Bytes that an implementation must move at least: every buffer once, those in place twice.
template <class P>
int64_t bytes(const P& problem, DeviceType device) {
  const Signature signature = describe(problem);
  size_t sum = 0;
  for (const BufferSpec& spec : signature.in) sum += storage_bytes(spec, layout_of(device));
  for (const BufferSpec& spec : signature.out) {
    sum += storage_bytes(spec, layout_of(device)) * (spec.in_place ? 2 : 1);
  }
  return static_cast<int64_t>(sum);
}

// Floating-point operations of a matrix-product-like problem, an FMA counted as two; 0 for the
// others, whose time goes into memory traffic.
template <class P>
int64_t flops(const P& problem) {
  if constexpr (requires { problem.geometry.flops(); }) {
    return problem.geometry.flops();
  } else {
    return 0;
  }
}

// What shapes don't tell of a problem, such as "gamma 2": an overload beside its cases says it.
template <class P>
std::string setting_of(const P&) {
  return {};
}

// "conv2d f32: x 1x5x7x3, w 17x3x3x3 -> y 1x5x7x17", "regression_loss f32, mass: values ..."
template <class P>
std::string text_of(const P& problem) {
  const Signature signature = describe(problem);
  const auto join = [](const std::vector<BufferSpec>& specs) {
    std::string all;
    for (const BufferSpec& s : specs) all += str(all.empty() ? "" : ", ", s.name, " ", s.shape);
    return all;
  };
  const std::string setting = setting_of(problem);
  return str(P::name, " ", name_of(problem.dtype), setting.empty() ? "" : ", ", setting, ": ",
             join(signature.in), " -> ", join(signature.out));
}

// The same problem in another element type.
template <class P>
P with_dtype(P problem, DType dtype) {
  problem.dtype = dtype;
  return problem;
}

// The types that a device's images may be stored in.
inline std::vector<DType> storage_types(DeviceType device) {
  if (device == DeviceType::cpu) return {DType::f32};
  return {DType::f32, DType::bf16, DType::f16};
}

// The same problems for every shape: `make(shape)` gives one.
template <class P, class Make>
Cases<P> for_shapes(const std::vector<Shape>& test, const std::vector<Shape>& perf, Make&& make) {
  Cases<P> all;
  for (const Shape& s : test) all.test.push_back(make(s));
  for (const Shape& s : perf) all.perf.push_back(make(s));
  return all;
}

}  // namespace unetd
