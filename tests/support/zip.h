// Writes ZIP archives (APPNOTE 6.3, method "stored"), as products are downloaded.
#pragma once

#include "io/checksum.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

namespace unetd::io {

namespace detail {
inline void put(std::string& to, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to += static_cast<char>(value >> (8 * i) & 0xFF);
}
}  // namespace detail

struct ZipEntry {
  std::string name, data;
  uint32_t method = 0, flags = 0;
};

// The bytes of an archive of these.
inline std::string zip_of(std::span<const ZipEntry> entries) {
  using detail::put;
  std::string body, directory;
  for (const ZipEntry& entry : entries) {
    const auto offset = static_cast<uint32_t>(body.size());
    const auto size = static_cast<uint32_t>(entry.data.size());
    std::string common;  // what the local header and the directory both say
    put(common, 20, 2);  // version needed
    put(common, entry.flags, 2);
    put(common, entry.method, 2);
    put(common, 0x5A215A21, 4);  // some time and date
    put(common, crc32(std::as_bytes(std::span(entry.data))), 4);
    put(common, size, 4);
    put(common, size, 4);
    put(common, static_cast<uint32_t>(entry.name.size()), 2);
    put(common, 0, 2);  // no extra field
    body += "PK\x03\x04" + common + entry.name + entry.data;
    directory += std::string("PK\x01\x02") + std::string("\x14\0", 2) + common;
    put(directory, 0, 2);  // no comment
    put(directory, 0, 2);  // first disk
    put(directory, 0, 2);  // attributes
    put(directory, 0, 4);
    put(directory, offset, 4);
    directory += entry.name;
  }
  const auto count = static_cast<uint32_t>(entries.size());
  std::string end = "PK\x05\x06";
  put(end, 0, 4);
  put(end, count, 2);
  put(end, count, 2);
  put(end, static_cast<uint32_t>(directory.size()), 4);
  put(end, static_cast<uint32_t>(body.size()), 4);
  put(end, 0, 2);
  return body + directory + end;
}

// A folder; names in the archive begin with the folder's own.
inline void write_zip(const std::filesystem::path& folder, const std::filesystem::path& archive) {
  std::vector<ZipEntry> entries;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    entries.push_back(
        {std::filesystem::relative(entry.path(), folder.parent_path()).generic_string(),
         {std::istreambuf_iterator<char>(in), {}}});
  }
  std::ofstream(archive, std::ios::binary) << zip_of(entries);
}

}  // namespace unetd::io
