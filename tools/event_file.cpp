#include "tools/event_file.h"

#include "engine/base/error.h"
#include "engine/base/protobuf.h"
#include "io/checksum.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <span>
#include <string_view>

namespace unetd {
namespace {

using protobuf::bytes_field;
using protobuf::double_field;
using protobuf::float_field;
using protobuf::little_endian;
using protobuf::varint_field;

constexpr std::string_view name_start = "events.out.tfevents.";

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
    values += bytes_field(summary::value,
                          bytes_field(summary::tag, tag) +
                              float_field(summary::simple_value, static_cast<float>(value)));
  }
  write(varint_field(event::step, step) + bytes_field(event::summary, values));
}

void EventFile::write(const std::string& fields) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  const std::string data = double_field(event::wall_time, now.count()) + fields;
  const std::string length = little_endian(uint64_t{data.size()});
  out_ << length << masked_crc(length) << data << masked_crc(data) << std::flush;
  if (!out_) {
    throw UserError(str("cannot write ", path_.string(), ": is the disk full? ",
                        "Make room and go on with --resume"));
  }
}

}  // namespace unetd
