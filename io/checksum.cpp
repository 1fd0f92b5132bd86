#include "io/checksum.h"

#include <array>

namespace unetd::io {
namespace {

// tables[k][b]: the CRC of byte b followed by k zero bytes, so that eight bytes are folded at once.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables(uint32_t polynomial) {
  Tables t{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? polynomial : 0);
    t[0][b] = crc;
  }
  for (size_t k = 1; k < 8; ++k)
    for (size_t b = 0; b < 256; ++b) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 0xFF];
  return t;
}

constexpr Tables zip = make_tables(0xEDB88320U), castagnoli = make_tables(0x82F63B78U);

uint32_t word_at(const std::byte* p) {
  return std::to_integer<uint32_t>(p[0]) | std::to_integer<uint32_t>(p[1]) << 8 |
         std::to_integer<uint32_t>(p[2]) << 16 | std::to_integer<uint32_t>(p[3]) << 24;
}

uint32_t continued(const Tables& tables, std::span<const std::byte> bytes, uint32_t crc) {
  crc = ~crc;
  const std::byte* p = bytes.data();
  const std::byte* const end = p + bytes.size();
  for (; end - p >= 8; p += 8) {
    const uint32_t low = crc ^ word_at(p), high = word_at(p + 4);
    crc = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^
          tables[4][low >> 24] ^ tables[3][high & 0xFF] ^ tables[2][high >> 8 & 0xFF] ^
          tables[1][high >> 16 & 0xFF] ^ tables[0][high >> 24];
  }
  for (; p != end; ++p) crc = (crc >> 8) ^ tables[0][(crc ^ std::to_integer<uint32_t>(*p)) & 0xFF];
  return ~crc;
}

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc) {
  return continued(zip, bytes, crc);
}

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc) {
  return continued(castagnoli, bytes, crc);
}

}  // namespace unetd::io
