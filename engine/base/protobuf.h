// Messages in Protobuf's wire format (https://protobuf.dev/programming-guides/encoding): a field is
// a key, which is a number and a wire type, and its content. A message is its fields one after
// another.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace unetd::protobuf {

enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

template <class T>
std::string little_endian(T bits) {
  std::string out;
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(bits >> (8 * i) & 0xFF);
  return out;
}

inline std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

inline std::string field(unsigned number, Wire wire, const std::string& content) {
  return varint(number << 3 | static_cast<unsigned>(wire)) + content;
}
inline std::string varint_field(unsigned number, int64_t value) {
  return field(number, Wire::varint, varint(static_cast<uint64_t>(value)));
}
inline std::string float_field(unsigned number, float value) {
  return field(number, Wire::fixed32, little_endian(std::bit_cast<uint32_t>(value)));
}
inline std::string double_field(unsigned number, double value) {
  return field(number, Wire::fixed64, little_endian(std::bit_cast<uint64_t>(value)));
}
// Texts, bytes and messages.
inline std::string bytes_field(unsigned number, const std::string& content) {
  return field(number, Wire::bytes, varint(content.size()) + content);
}
// A repeated integer in one field.
inline std::string packed_field(unsigned number, std::span<const int64_t> values) {
  std::string content;
  for (const int64_t v : values) content += varint(static_cast<uint64_t>(v));
  return bytes_field(number, content);
}

}  // namespace unetd::protobuf
