// Typed access to device buffers by logical index, for kernels that prefer plain loops to speed.
// Only feature_index and filter_index know where an element lies.
#pragma once

#include "engine/base/error.h"
#include "engine/base/half.h"
#include "engine/tensor/layout.h"

#include <algorithm>
#include <type_traits>

namespace unetd {

// Calls f(T{}) with T = float or double. Throws Error for other element types.
template <class F>
void with_type(DType dtype, F&& f) {
  UNETD_CHECK(dtype == DType::f32 || dtype == DType::f64, "element type ", name_of(dtype));
  if (dtype == DType::f64) return f(double{});
  f(float{});
}

// The same with T = float, bf16 or f16.
template <class F>
void with_storage_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(bf16{});
    case DType::f16:
      return f(f16{});
    default:
      throw Error(str("element type ", name_of(dtype)));
  }
}

// A reject function for implementations that dispatch by with_type.
template <class P>
const char* only_f32_and_f64(const P& problem) {
  const bool takes = problem.dtype == DType::f32 || problem.dtype == DType::f64;
  return takes ? nullptr : "only f32 and f64";
}

// What Features and Filter share: a typed pointer, the extents and the layout of a device.
template <class T, Kind kind>
class View {
 public:
  using Void = std::conditional_t<std::is_const_v<T>, const void, void>;
  View(Void* data, const Shape& shape, DeviceType device = DeviceType::cpu)
      : data_(static_cast<T*>(data)), shape_(shape), layout_(layout_of(device)) {}

  const Shape& shape() const { return shape_; }
  // Image: sample, row, column, channel. Filter: output channel, row, column, input channel.
  T& operator()(int64_t n, int64_t h, int64_t w, int64_t c) const {
    return data_[storage_index(layout_, kind, shape_, n, h, w, c)];
  }
  // Element of a vector (1, 1, 1, c).
  T& operator()(int64_t c) const { return (*this)(0, 0, 0, c); }
  // Zeroes the whole storage; what the kernel leaves unwritten afterwards is the padding.
  void clear() const { std::fill_n(data_, storage_count(layout_, kind, shape_), T{}); }

 private:
  T* data_;
  Shape shape_;
  Layout layout_;
};

template <class T>
using Features = View<T, Kind::features>;
template <class T>
using Filter = View<T, Kind::filter>;
template <class T>
using TransposedFilter = View<T, Kind::transposed_filter>;

// A view of an output, cleared.
template <class V>
V cleared(void* data, const Shape& shape) {
  const V view(data, shape);
  view.clear();
  return view;
}

}  // namespace unetd
