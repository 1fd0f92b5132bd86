// Writes a folder as a ZIP archive (APPNOTE 6.3, method "stored"), as products are downloaded.
#pragma once

#include "io/checksum.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

namespace unetd::io {

namespace detail {
inline void put(std::string& to, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to += static_cast<char>(value >> (8 * i) & 0xFF);
}
}  // namespace detail

// Names in the archive begin with the folder's own.
inline void write_zip(const std::filesystem::path& folder, const std::filesystem::path& archive) {
  using detail::put;
  std::string body, directory;
  uint32_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string data{std::istreambuf_iterator<char>(in), {}};
    const std::string name =
        std::filesystem::relative(entry.path(), folder.parent_path()).generic_string();
    const auto offset = static_cast<uint32_t>(body.size());
    std::string common;          // what the local header and the directory both say
    put(common, 20, 2);          // version needed
    put(common, 0, 2);           // flags
    put(common, 0, 2);           // stored
    put(common, 0x5A215A21, 4);  // some time and date
    put(common, crc32(std::as_bytes(std::span(data))), 4);
    put(common, static_cast<uint32_t>(data.size()), 4);
    put(common, static_cast<uint32_t>(data.size()), 4);
    put(common, static_cast<uint32_t>(name.size()), 2);
    put(common, 0, 2);  // no extra field
    body += "PK\x03\x04" + common + name + data;
    directory += std::string("PK\x01\x02") + std::string("\x14\0", 2) + common;
    put(directory, 0, 2);  // no comment
    put(directory, 0, 2);  // first disk
    put(directory, 0, 2);  // attributes
    put(directory, 0, 4);
    put(directory, offset, 4);
    directory += name;
    ++count;
  }
  std::string end = "PK\x05\x06";
  put(end, 0, 4);
  put(end, count, 2);
  put(end, count, 2);
  put(end, static_cast<uint32_t>(directory.size()), 4);
  put(end, static_cast<uint32_t>(body.size()), 4);
  put(end, 0, 2);
  std::ofstream(archive, std::ios::binary) << body << directory << end;
}

}  // namespace unetd::io
