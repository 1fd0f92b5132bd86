#include "io/gdal_zip.h"

#include "engine/base/error.h"
#include "io/checksum.h"
#include "io/gdal.h"
#include "io/gdal_vsi.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cpl_vsi.h>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view prefix = "/vsizip/";
constexpr const char* damaged = "the archive is damaged or incomplete: copy or download it again";
// A directory of some million members; beyond it the sizes are damaged.
constexpr uint64_t largest_directory = uint64_t{256} << 20;

struct CloseFile {
  void operator()(VSILFILE* file) const { VSIFCloseL(file); }
};
using File = std::unique_ptr<VSILFILE, CloseFile>;

// An unsigned number of the archive, least byte first.
uint64_t number_at(const std::string& bytes, size_t at, size_t length) {
  uint64_t value = 0;
  for (size_t i = 0; i < length; ++i)
    value |= uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return value;
}

class Archive {
 public:
  explicit Archive(const fs::path& path) : errors_(path), file_(VSIFOpenL(path.c_str(), "rb")) {
    errors_.check(file_ != nullptr, "open", damaged);
    size_ = static_cast<uint64_t>(file_stamp(path).size);
  }

  // Name of each member and its CRC-32.
  std::map<std::string, uint32_t> checksums() const {
    const auto [start, length] = directory();
    const std::string bytes = read(start, length);
    constexpr size_t header = 46, crc_at = 16, lengths_at = 28;
    std::map<std::string, uint32_t> found;
    for (size_t at = 0; at < bytes.size();) {
      if (bytes.size() - at < header || bytes.compare(at, 4, "PK\x01\x02") != 0) fail();
      const size_t name = number_at(bytes, at + lengths_at, 2);
      const size_t rest = number_at(bytes, at + lengths_at + 2, 2) +  // extra field
                          number_at(bytes, at + lengths_at + 4, 2);   // comment
      if (bytes.size() - at < header + name + rest) fail();
      found.emplace(bytes.substr(at + header, name),
                    static_cast<uint32_t>(number_at(bytes, at + crc_at, 4)));
      at += header + name + rest;
    }
    return found;
  }

 private:
  [[noreturn]] void fail() const { errors_.fail("read the directory of", damaged); }

  std::string read(uint64_t start, uint64_t length) const {
    if (start > size_ || length > size_ - start || length > largest_directory) fail();
    std::string bytes(length, '\0');
    if (VSIFSeekL(file_.get(), start, SEEK_SET) != 0 ||
        VSIFReadL(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size())
      fail();
    return bytes;
  }

  // Where the directory starts, and its length.
  std::pair<uint64_t, uint64_t> directory() const {
    constexpr uint64_t end_record = 22, longest_comment = 0xFFFF, locator = 20;
    constexpr uint64_t too_large = 0xFFFFFFFF;
    const uint64_t tail = std::min(size_, end_record + longest_comment + locator);
    const std::string bytes = read(size_ - tail, tail);
    const size_t at = bytes.rfind("PK\x05\x06");
    if (at == std::string::npos || bytes.size() - at < end_record) fail();
    const uint64_t length = number_at(bytes, at + 12, 4), start = number_at(bytes, at + 16, 4);
    const bool large = at >= locator && bytes.compare(at - locator, 4, "PK\x06\x07") == 0;
    if (!large || (start != too_large && length != too_large)) return {start, length};
    const std::string record = read(number_at(bytes, at - locator + 8, 8), 56);
    if (record.compare(0, 4, "PK\x06\x06") != 0) fail();
    return {number_at(record, 48, 8), number_at(record, 40, 8)};
  }

  GdalErrors errors_;
  File file_;
  uint64_t size_ = 0;
};

// The archive that a path leads into, by the longest beginning that is a file.
std::optional<fs::path> archive_of(const fs::path& path) {
  const std::string text = path.string();
  if (!text.starts_with(prefix)) return std::nullopt;
  for (fs::path at = fs::path(text.substr(prefix.size())).parent_path(); at.has_relative_path();
       at = at.parent_path())
    if (path_kind(at) == PathKind::file) return at;
  return std::nullopt;
}

uint32_t checksum_of(const fs::path& path) {
  uint32_t crc = 0;
  read_parts(path, [&](std::span<const std::byte> part) { crc = crc32(part, crc); });
  return crc;
}

// What this process knows of an archive, as long as that keeps its size and time.
struct Known {
  FileStamp stamp;
  std::map<std::string, uint32_t> checksums;
  std::set<std::string> whole;  // members that were compared
};

Known& known(const fs::path& archive) {
  static std::map<fs::path, Known> archives;
  const FileStamp stamp = file_stamp(archive);
  Known& k = archives[archive];
  if (k.stamp != stamp || k.checksums.empty()) k = {stamp, Archive(archive).checksums(), {}};
  return k;
}

}  // namespace

void verify_archived(const fs::path& path) {
  const auto archive = archive_of(path);
  if (!archive) return;
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  Known& k = known(*archive);
  const std::string member = path.string().substr(prefix.size() + archive->string().size() + 1);
  const auto listed = k.checksums.find(member);
  if (listed == k.checksums.end() || k.whole.contains(member)) return;
  if (checksum_of(path) != listed->second)
    throw UserError(
        str("cannot read ", path.string(), ": it differs from its checksum (", damaged, ")"));
  k.whole.insert(member);
}

}  // namespace unetd::io
