#include "tools/event_file.h"

#include "engine/base/error.h"
#include "io/checksum.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <span>
#include <string_view>

namespace unetd {
namespace {

constexpr std::string_view name_start = "events.out.tfevents.";

// Protobuf's wire format: a field is a key (number and wire type) and its content. Numbers of fixed
// size are little-endian.
enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

template <class T>
std::string little_endian(T bits) {
  std::string out;
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(bits >> (8 * i) & 0xFF);
  return out;
}

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string field(unsigned number, Wire wire, const std::string& content) {
  return varint(number << 3 | static_cast<unsigned>(wire)) + content;
}
std::string varint_field(unsigned number, int64_t value) {
  return field(number, Wire::varint, varint(static_cast<uint64_t>(value)));
}
std::string bytes_field(unsigned number, const std::string& content) {
  return field(number, Wire::bytes, varint(content.size()) + content);
}

// The numbers of the fields in tensorflow/core/util/event.proto and framework/summary.proto.
namespace event {
constexpr unsigned wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7;
}
namespace summary {
constexpr unsigned value = 1, tag = 1, simple_value = 2;
}
namespace session_log {
constexpr unsigned status = 1;
constexpr int64_t start = 1;
}  // namespace session_log

// TFRecord stores CRCs rotated and shifted, since a CRC of data with CRCs in them is weak.
std::string masked_crc(const std::string& data) {
  const uint32_t crc = io::crc32c(std::as_bytes(std::span(data)));
  return little_endian(std::rotr(crc, 15) + 0xA282EAD8U);
}

std::vector<std::filesystem::path> event_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with(name_start)) files.push_back(entry.path());
  }
  return files;
}

}  // namespace

EventFile EventFile::first(const std::filesystem::path& folder) {
  for (const std::filesystem::path& file : event_files(folder)) std::filesystem::remove(file);
  return EventFile(folder);
}

EventFile EventFile::resumed(const std::filesystem::path& folder, int64_t step) {
  EventFile file(folder);
  file.write(
      varint_field(event::step, step + 1) +
      bytes_field(event::session_log, varint_field(session_log::status, session_log::start)));
  return file;
}

// TensorBoard reads the files of a folder in the order of their names.
EventFile::EventFile(const std::filesystem::path& folder) {
  const std::vector<std::filesystem::path> before = event_files(folder);
  int64_t number = 0;
  do {
    char digits[24];
    std::snprintf(digits, sizeof digits, "%06lld", static_cast<long long>(number++));
    path_ = folder / (std::string(name_start) + digits);
  } while (!before.empty() && path_ <= *std::max_element(before.begin(), before.end()));
  out_.open(path_, std::ios::binary | std::ios::trunc);
  write(bytes_field(event::file_version, "brain.Event:2"));
}

void EventFile::add(int64_t step, const Scalars& scalars) {
  std::string values;
  for (const auto& [tag, value] : scalars) {
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(value));
    values += bytes_field(summary::value,
                          bytes_field(summary::tag, tag) +
                              field(summary::simple_value, Wire::fixed32, little_endian(bits)));
  }
  write(varint_field(event::step, step) + bytes_field(event::summary, values));
}

void EventFile::write(const std::string& fields) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  const std::string data =
      field(event::wall_time, Wire::fixed64, little_endian(std::bit_cast<uint64_t>(now.count()))) +
      fields;
  const std::string length = little_endian(uint64_t{data.size()});
  out_ << length << masked_crc(length) << data << masked_crc(data) << std::flush;
  if (!out_) {
    throw UserError(str("cannot write ", path_.string(), ": is the disk full? ",
                        "Make room and go on with --resume"));
  }
}

}  // namespace unetd
