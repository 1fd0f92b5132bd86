#include "kernels/simt/shared_memory.h"

#include "engine/base/error.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace unetd::simt {
namespace {

constexpr size_t round_up(size_t n) { return (n + 15) / 16 * 16; }

// All ones is a NaN in every float type. The stores are volatile because a memset() on a lane would
// reach ThreadSanitizer's interceptor and count as the lane's own write.
void fill_with_nan(std::byte* begin, const std::byte* end) {
  for (std::byte* p = begin; p < end; p += sizeof(uint64_t)) {
    *reinterpret_cast<volatile uint64_t*>(p) = ~uint64_t{0};
  }
}

}  // namespace

void SharedMemory::begin_block(size_t dynamic_bytes) {
  // To ThreadSanitizer an address is one variable: blocks that shared a slab would race on it.
  if (sanitizer::thread && slab_) retired_.push_back(std::exchange(slab_, nullptr));
  if (!slab_) slab_.reset(new Slab);
  std::byte* const first = slab_->bytes.data();
  sanitizer::allow(first, capacity);
  fill_with_nan(first, first + guard);
  sanitizer::forbid(first, capacity);
  count_ = used_ = static_bytes_ = 0;
  dynamic_bytes_ = dynamic_bytes;
  UNETD_CHECK(dynamic_bytes <= total_limit, "simt: ", dynamic_bytes,
              " bytes of dynamic shared memory, CUDA allows ", total_limit);
  dynamic_ = dynamic_bytes == 0 ? nullptr : place(this, dynamic_bytes);
}

std::byte* SharedMemory::place(const void* identity, size_t bytes) {
  std::byte* const data = slab_->bytes.data() + used_ + guard;  // the zone before it exists
  used_ += round_up(guard + bytes);
  const std::byte* const end = slab_->bytes.data() + used_ + guard;
  sanitizer::allow(data, static_cast<size_t>(end - data));
  fill_with_nan(data, end);
  sanitizer::forbid(data + bytes, static_cast<size_t>(end - data) - bytes);
  arrays_[count_++] = {identity, data, bytes};
  return data;
}

void* SharedMemory::array(const void* identity, size_t bytes) {
  for (const Array& a : arrays()) {
    if (a.identity == identity) return a.data;
  }
  static_bytes_ += round_up(bytes);
  UNETD_CHECK(count_ < max_arrays, "simt: more than ", max_arrays, " shared arrays in one kernel");
  UNETD_CHECK(static_bytes_ <= static_limit, "simt: ", static_bytes_,
              " bytes of static shared memory, CUDA allows ", static_limit);
  UNETD_CHECK(static_bytes_ + dynamic_bytes_ <= total_limit,
              "simt: ", static_bytes_ + dynamic_bytes_, " bytes of shared memory, CUDA allows ",
              total_limit);
  return place(identity, bytes);
}

bool SharedMemory::contains(const void* p, size_t bytes) const {
  const auto* first = static_cast<const std::byte*>(p);
  return std::any_of(arrays().begin(), arrays().end(), [&](const Array& a) {
    return first >= a.data && first + bytes <= a.data + a.bytes;
  });
}

void SharedMemory::end_block() const {
  if (sanitizer::address) return;  // the zones may not even be read
  const auto untouched = [](std::byte b) { return b == std::byte{0xff}; };
  for (const Array& a : arrays()) {
    std::byte* const end = a.data + a.bytes;
    UNETD_CHECK(std::all_of(a.data - guard, a.data, untouched),
                "simt: a write before a shared array of ", a.bytes, " bytes");
    UNETD_CHECK(std::all_of(end, a.data + round_up(a.bytes) + guard, untouched),
                "simt: a write past a shared array of ", a.bytes, " bytes");
  }
}

void SharedMemory::end_launch() { retired_.clear(); }

}  // namespace unetd::simt
