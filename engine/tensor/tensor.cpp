#include "engine/tensor/tensor.h"

#include <cstdlib>

namespace unetd {

void Tensor::Free::operator()(std::byte* p) const { std::free(p); }

Tensor::Tensor(Shape shape, DType dtype) : shape_(shape), dtype_(dtype) {
  UNETD_CHECK(shape.n >= 0 && shape.h >= 0 && shape.w >= 0 && shape.c >= 0, "tensor ", shape);
  constexpr size_t alignment = 64;  // one cache line, the widest vector
  const size_t bytes = static_cast<size_t>(shape.count()) * size_of(dtype);
  const size_t rounded = (bytes + alignment) / alignment * alignment;  // never zero
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
  if (!data_) throw Error(str("out of memory: ", rounded >> 20, " MiB for a tensor ", shape));
  std::memset(data_.get(), 0, rounded);
}

Tensor Tensor::clone() const {
  if (empty()) return {};
  Tensor copy(shape_, dtype_);
  std::memcpy(copy.data(), data(), bytes());
  return copy;
}

}  // namespace unetd
