// Checksums of bytes. CRC-32 is that of zip, PNG and zlib.crc32 (reflected polynomial 0xEDB88320):
// it tells a damaged shard from a whole one. CRC-32C is that of iSCSI (RFC 3720, 0x82F63B78), which
// TensorBoard's record files ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace unetd::io {

// Continues from `crc`, the value over the bytes before; 0 to begin.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc = 0);
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);

}  // namespace unetd::io
