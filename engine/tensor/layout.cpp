#include "engine/tensor/layout.h"

#include "engine/base/threads.h"

#include <cstring>

namespace unetd {
namespace {

// Calls move(storage index, dense index) for every logical element.
template <class Move>
void for_each_element(Kind kind, Layout layout, const Shape& s, Move&& move) {
  parallel_for(s.n * s.h, [&](int64_t row) {
    const int64_t n = row / s.h, h = row % s.h;
    int64_t dense = row * s.w * s.c;
    for (int64_t w = 0; w < s.w; ++w) {
      for (int64_t c = 0; c < s.c; ++c, ++dense) {
        move(storage_index(layout, kind, s, n, h, w, c), dense);
      }
    }
  });
}

template <class F>
void with_element_size(size_t bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

bool same_order(Kind kind, Layout layout) { return kind == Kind::dense || layout == Layout::nhwc; }

}  // namespace

void pack(const Tensor& from, Kind kind, Layout layout, void* storage) {
  if (from.bytes() == 0) return;  // memcpy wants pointers even then
  if (same_order(kind, layout)) {
    std::memcpy(storage, from.data(), from.bytes());
    return;
  }
  const int64_t count = storage_count(layout, kind, from.shape());
  std::memset(storage, 0, static_cast<size_t>(count) * size_of(from.dtype()));
  with_element_size(size_of(from.dtype()), [&](auto element) {
    using T = decltype(element);
    T* to = static_cast<T*>(storage);
    const T* source = static_cast<const T*>(from.data());
    for_each_element(kind, layout, from.shape(),
                     [&](int64_t at, int64_t dense) { to[at] = source[dense]; });
  });
}

Tensor unpack(const void* storage, Kind kind, Layout layout, Shape shape, DType dtype) {
  Tensor result(shape, dtype);
  if (result.bytes() == 0) return result;
  if (same_order(kind, layout)) {
    std::memcpy(result.data(), storage, result.bytes());
    return result;
  }
  with_element_size(size_of(dtype), [&](auto element) {
    using T = decltype(element);
    const T* source = static_cast<const T*>(storage);
    T* to = static_cast<T*>(result.data());
    for_each_element(kind, layout, shape,
                     [&](int64_t at, int64_t dense) { to[dense] = source[at]; });
  });
  return result;
}

}  // namespace unetd
