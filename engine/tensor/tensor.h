// Tensor: dense host memory with a shape and an element type. Tensors exist at the edges of a
// session (batches, parameters in files, results, tests); inside a graph there are only Values.
#pragma once

#include "engine/base/dtype.h"
#include "engine/base/error.h"
#include "engine/tensor/shape.h"

#include <cstring>
#include <memory>
#include <span>

namespace unetd {

// Move-only and dense: element (n, h, w, c) lies at ((n * H + h) * W + w) * C + c.
class Tensor {
 public:
  Tensor() = default;
  // Zero-filled. Throws Error when memory runs out.
  Tensor(Shape shape, DType dtype);
  template <class T>
  static Tensor from(Shape shape, std::span<const T> values) {
    Tensor t(shape, dtype_of<T>);
    UNETD_CHECK(static_cast<int64_t>(values.size()) == shape.count(), "tensor ", shape, " from ",
                values.size(), " values");
    std::memcpy(t.data(), values.data(), t.bytes());
    return t;
  }

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  bool empty() const { return data_ == nullptr; }
  int64_t count() const { return empty() ? 0 : shape_.count(); }
  size_t bytes() const { return static_cast<size_t>(count()) * size_of(dtype_); }
  void* data() { return data_.get(); }
  const void* data() const { return data_.get(); }

  // The elements. Throws Error if T is not the element type.
  template <class T>
  std::span<T> span() {
    check_type(dtype_of<T>);
    return {static_cast<T*>(data()), static_cast<size_t>(count())};
  }
  template <class T>
  std::span<const T> span() const {
    check_type(dtype_of<T>);
    return {static_cast<const T*>(data()), static_cast<size_t>(count())};
  }

  Tensor clone() const;

 private:
  void check_type(DType wanted) const {
    UNETD_CHECK(wanted == dtype_, "tensor holds ", name_of(dtype_), ", asked for ",
                name_of(wanted));
  }
  struct Free {
    void operator()(std::byte* p) const;
  };

  std::unique_ptr<std::byte[], Free> data_;
  Shape shape_{0, 0, 0, 0};
  DType dtype_ = DType::f32;
};

}  // namespace unetd
