// The shared memory of the block that runs: arrays between guard zones, filled with NaN.
#pragma once

#include "kernels/simt/machine.h"

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace unetd::simt {

class SharedMemory {
 public:
  // Forgets the arrays of the last block and makes the dynamic one, of exactly that many bytes.
  void begin_block(size_t dynamic_bytes);
  // Throws Error if a guard zone was written to. (AddressSanitizer reports at the access itself.)
  void end_block() const;
  // No lane runs any more: memory kept for ThreadSanitizer goes.
  void end_launch();

  // The array of that identity, made at the first request. Throws Error where CUDA's limits end.
  void* array(const void* identity, size_t bytes);
  void* dynamic() const { return dynamic_; }
  bool contains(const void* p, size_t bytes) const;
  OrderTags& tags() { return slab_->tags; }

 private:
  static constexpr size_t guard = 64, max_arrays = 32;
  // CUDA's limits: static arrays of a block, and all shared memory of a block on sm_90.
  static constexpr size_t static_limit = size_t{48} << 10, total_limit = size_t{227} << 10;
  static constexpr size_t capacity = total_limit + (max_arrays + 1) * guard * 2;

  struct Slab {
    OrderTags tags;
    alignas(16) std::array<std::byte, capacity> bytes;
  };
  struct Array {
    const void* identity;
    std::byte* data;
    size_t bytes;
  };
  std::byte* place(const void* identity, size_t bytes);
  std::span<const Array> arrays() const { return {arrays_.data(), count_}; }

  std::unique_ptr<Slab> slab_;
  std::vector<std::unique_ptr<Slab>> retired_;
  std::array<Array, max_arrays> arrays_{};
  size_t count_ = 0, used_ = 0, static_bytes_ = 0, dynamic_bytes_ = 0;
  void* dynamic_ = nullptr;
};

}  // namespace unetd::simt
