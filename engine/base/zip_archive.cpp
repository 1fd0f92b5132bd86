#include "engine/base/zip_archive.h"

#include "engine/base/bytes.h"
#include "engine/base/error.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace unetd {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint32_t local_signature = 0x04034b50, entry_signature = 0x02014b50,
                   end_signature = 0x06054b50, end64_signature = 0x06064b50,
                   locator64_signature = 0x07064b50;
constexpr size_t local_size = 30, entry_size = 46, end_size = 22, end64_size = 56,
                 locator64_size = 20, longest_comment = 0xFFFF;
constexpr uint32_t see_zip64 = 0xFFFFFFFF;

// One reading of an archive: every offset is checked before it is followed.
class Reader {
 public:
  Reader(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  std::map<std::string, Bytes, std::less<>> read() {
    const Directory directory = find_directory();
    if (directory.files > directory.size / entry_size) fail("its directory is cut");
    size_t at = directory.offset;
    for (uint64_t i = 0; i < directory.files; ++i) at = read_entry(at, directory);
    check_no_overlap();
    return std::move(files_);
  }

 private:
  struct Directory {
    uint64_t files = 0, size = 0, offset = 0;
  };
  struct Entry {
    uint64_t stored = 0, size = 0, offset = 0;  // of the local header
  };

  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(str(name_, " is damaged: ", what, "; copy or write it again"));
  }
  // `size` bytes at `offset` are there.
  Bytes part(uint64_t offset, uint64_t size, const char* what) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset)
      fail(str(what, " lies beyond its end"));
    return bytes_.subspan(offset, size);
  }

  // The end record stands last, but for a comment that it gives the length of.
  size_t find_end() const {
    for (size_t comment = 0; comment <= longest_comment; ++comment) {
      if (bytes_.size() < end_size + comment) break;
      const size_t at = bytes_.size() - end_size - comment;
      if (load<uint32_t>(bytes_, at) == end_signature && load<uint16_t>(bytes_, at + 20) == comment)
        return at;
    }
    fail("a ZIP archive without its directory at the end, as one that was cut");
  }

  Directory find_directory() const {
    const size_t end = find_end();
    Directory d{load<uint16_t>(bytes_, end + 10), load<uint32_t>(bytes_, end + 12),
                load<uint32_t>(bytes_, end + 16)};
    if (end >= locator64_size &&
        load<uint32_t>(bytes_, end - locator64_size) == locator64_signature) {
      const auto at = load<uint64_t>(bytes_, end - locator64_size + 8);
      const Bytes record = part(at, end64_size, "its ZIP64 record");
      if (load<uint32_t>(record) != end64_signature) fail("its ZIP64 record is none");
      d = {load<uint64_t>(record, 32), load<uint64_t>(record, 40), load<uint64_t>(record, 48)};
    }
    part(d.offset, d.size, "its directory");
    return d;
  }

  // Sizes and offsets that 32 bits cannot hold stand in a field of their own.
  Entry zip64(Entry e, Bytes extra) const {
    constexpr uint16_t zip64_field = 1;
    for (size_t at = 0; at + 4 <= extra.size();) {
      const auto id = load<uint16_t>(extra, at), length = load<uint16_t>(extra, at + 2);
      at += 4;
      if (length > extra.size() - at) fail("an extra field is cut");
      Bytes field = extra.subspan(at, length);
      at += length;
      if (id != zip64_field) continue;
      for (uint64_t* value : {&e.size, &e.stored, &e.offset}) {
        if (*value != see_zip64) continue;
        if (field.size() < sizeof *value) fail("a ZIP64 field is cut");
        *value = load<uint64_t>(field);
        field = field.subspan(sizeof *value);
      }
    }
    return e;
  }

  // Returns where the next entry begins.
  size_t read_entry(size_t at, const Directory& directory) {
    const uint64_t end = directory.offset + directory.size;
    if (end - at < entry_size || load<uint32_t>(bytes_, at) != entry_signature)
      fail("its directory is cut");
    const uint64_t name = load<uint16_t>(bytes_, at + 28), extra = load<uint16_t>(bytes_, at + 30),
                   comment = load<uint16_t>(bytes_, at + 32);
    if (name + extra + comment > end - at - entry_size) fail("its directory is cut");
    const Bytes path = bytes_.subspan(at + entry_size, name);
    const Entry e = zip64({load<uint32_t>(bytes_, at + 20), load<uint32_t>(bytes_, at + 24),
                           load<uint32_t>(bytes_, at + 42)},
                          bytes_.subspan(at + entry_size + name, extra));
    constexpr uint16_t encrypted = 1, stored = 0;
    if ((load<uint16_t>(bytes_, at + 8) & encrypted) != 0) fail("it is encrypted");
    if (load<uint16_t>(bytes_, at + 10) != stored || e.stored != e.size)
      fail("its files are compressed, which PyTorch does not do");
    add(path, e);
    return at + entry_size + name + extra + comment;
  }

  void add(Bytes path, const Entry& e) {
    const Bytes local = part(e.offset, local_size, "a file");
    if (load<uint32_t>(local) != local_signature) fail("a file is not where its directory says");
    const uint64_t name = load<uint16_t>(local, 26), extra = load<uint16_t>(local, 28);
    const Bytes own_path = part(e.offset + local_size, name, "a file");
    if (!std::ranges::equal(own_path, path)) fail("a file is not where its directory says");
    const uint64_t begin = e.offset + local_size + name + extra;
    const Bytes data = part(begin, e.size, "a file");
    const std::string text(reinterpret_cast<const char*>(path.data()), path.size());
    if (!files_.emplace(text, data).second) fail("two of its files have one name");
    ranges_.emplace_back(e.offset, begin + e.size);
  }

  void check_no_overlap() {
    std::ranges::sort(ranges_);
    for (size_t i = 1; i < ranges_.size(); ++i)
      if (ranges_[i].first < ranges_[i - 1].second) fail("its files overlap");
  }

  Bytes bytes_;
  const std::string& name_;
  std::map<std::string, Bytes, std::less<>> files_;
  std::vector<std::pair<uint64_t, uint64_t>> ranges_;
};

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> bytes, std::string name)
    : name_(std::move(name)), files_(Reader(bytes, name_).read()) {}

std::span<const std::byte> ZipArchive::file(std::string_view path) const {
  const auto found = files_.find(path);
  if (found == files_.end())
    throw UserError(str(name_, " is damaged: it lacks ", path, "; copy or write it again"));
  return found->second;
}

bool is_zip(std::span<const std::byte> bytes) {
  return bytes.size() >= sizeof local_signature && load<uint32_t>(bytes) == local_signature;
}

}  // namespace unetd
