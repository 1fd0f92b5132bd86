// CRC-32 as in zip, PNG and zlib.crc32 (polynomial 0xEDB88320): tells a damaged shard from a whole
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace unetd::io {

// Continues from `crc`, the value over the bytes before; 0 to begin.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc = 0);

}  // namespace unetd::io
