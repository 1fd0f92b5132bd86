// Numbers in files: little-endian, at any address.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <span>

namespace unetd {

static_assert(std::endian::native == std::endian::little,
              "numbers are copied as they lie in files");

// The T at `offset`, which must lie within `bytes`.
template <class T>
T load(std::span<const std::byte> bytes, size_t offset = 0) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace unetd
