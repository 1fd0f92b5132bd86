// Memory for kernels under test: red zones on both sides show what they write out of bounds (and,
// under AddressSanitizer, what they read), and the content starts as NaN to show what they leave
// out.
#pragma once

#include "kernels/simt/sanitizer.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>

namespace unetd {

// Aligned to 256 bytes, as a session's memory is.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(size_t bytes)
      : bytes_(bytes), memory_(new (std::align_val_t{alignment}) std::byte[zone + bytes + zone]) {
    std::memset(front(), guard, zone);
    std::memset(data(), nan, bytes);
    std::memset(back(), guard, zone);
    simt::sanitizer::forbid(front(), zone);
    simt::sanitizer::forbid(back(), zone);
  }
  GuardedBuffer(GuardedBuffer&&) = default;
  GuardedBuffer& operator=(GuardedBuffer&&) = delete;
  ~GuardedBuffer() {
    if (memory_) allow_zones();
  }

  std::byte* data() const { return memory_.get() + zone; }
  size_t bytes() const { return bytes_; }

  // For the copy to a GPU and back, which takes the red zones along.
  template <class Use>
  void with_zones(Use&& use) const {
    allow_zones();
    use(std::span(front(), zone + bytes_ + zone));
    simt::sanitizer::forbid(front(), zone);
    simt::sanitizer::forbid(back(), zone);
  }
  size_t offset() const { return zone; }  // of data() in that memory

  // Are both red zones as they were?
  bool intact() const {
    allow_zones();
    const auto untouched = [](const std::byte* from) {
      return std::all_of(from, from + zone, [](std::byte b) { return b == std::byte{guard}; });
    };
    const bool result = untouched(front()) && untouched(back());
    simt::sanitizer::forbid(front(), zone);
    simt::sanitizer::forbid(back(), zone);
    return result;
  }

 private:
  static constexpr size_t alignment = 256, zone = 1024;
  static constexpr unsigned char guard = 0xA5;
  static constexpr int nan = 0xFF;  // all bits set: NaN in every floating-point type

  struct Free {
    void operator()(std::byte* p) const { operator delete[](p, std::align_val_t{alignment}); }
  };
  std::byte* front() const { return memory_.get(); }
  std::byte* back() const { return data() + bytes_; }
  void allow_zones() const {
    simt::sanitizer::allow(front(), zone);
    simt::sanitizer::allow(back(), zone);
  }

  size_t bytes_;
  std::unique_ptr<std::byte[], Free> memory_;
};

}  // namespace unetd
