#include "engine/tensor/tensor_view.h"

#include "engine/base/bytes.h"
#include "engine/base/error.h"
#include "engine/base/half.h"

#include <algorithm>

namespace unetd {
namespace {

template <class T>
float number(T x) {
  if constexpr (sizeof(T) == sizeof(double)) {
    return static_cast<float>(x);
  } else {
    return to_float(x);
  }
}

// Walks the elements like an odometer: the last index turns fastest.
template <class T>
std::vector<float> gather(const TensorView& view) {
  std::vector<float> result(static_cast<size_t>(element_count(view.shape)));
  std::vector<int64_t> index(view.shape.size());
  int64_t at = 0;
  for (float& x : result) {
    x = number(load<T>(view.bytes, static_cast<size_t>(at) * sizeof(T)));
    for (size_t d = index.size(); d-- > 0;) {
      at += view.stride[d];
      if (++index[d] < view.shape[d]) break;
      at -= index[d] * view.stride[d];
      index[d] = 0;
    }
  }
  return result;
}

}  // namespace

std::vector<int64_t> dense_strides(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t next = 1;
  for (size_t d = shape.size(); d-- > 0; next *= std::max<int64_t>(shape[d], 1)) strides[d] = next;
  return strides;
}

int64_t element_count(std::span<const int64_t> shape) {
  int64_t count = 1;
  bool fits = true, empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return -1;
    empty = empty || extent == 0;
    fits = fits && !__builtin_mul_overflow(count, std::max<int64_t>(extent, 1), &count);
  }
  return empty ? 0 : fits ? count : -1;
}

std::vector<float> to_floats(const TensorView& view) {
  switch (view.dtype) {
    case DType::f32:
      return gather<float>(view);
    case DType::f64:
      return gather<double>(view);
    case DType::f16:
      return gather<f16>(view);
    case DType::bf16:
      return gather<bf16>(view);
    default:
      throw Error(str("a tensor of ", name_of(view.dtype), " as floating-point numbers"));
  }
}

}  // namespace unetd
