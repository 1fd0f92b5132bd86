// Folders, files and XML wherever GDAL can reach them: on disk, or in an archive that is not
// unpacked
// ("/vsizip/product.zip/...").
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace unetd::io {

enum class PathKind : uint8_t { none, file, folder };
PathKind path_kind(const std::filesystem::path& path);

// Changes when the file does.
struct FileStamp {
  int64_t size = 0, time = 0;  // bytes, seconds since 1970

  bool operator==(const FileStamp&) const = default;
};
// Throws UserError if there is no such file.
FileStamp file_stamp(const std::filesystem::path& path);

// Calls visit with the content, a part at a time. Throws UserError if it cannot be read to its end.
void read_parts(const std::filesystem::path& path,
                const std::function<void(std::span<const std::byte>)>& visit);

// Names of the files in a folder and at most `depth` folders below, relative to it, sorted. Throws
// UserError if it cannot be read.
std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder, int depth);

struct XmlElement {
  std::string name;  // without its namespace
  std::string text;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::vector<XmlElement> children;

  // An attribute's value, or an empty text.
  std::string attribute(const std::string& key) const;
  // Calls visit for every element of that name below this one, in the order of the document.
  void each(const std::string& wanted, const std::function<void(const XmlElement&)>& visit) const;
  // The first of them, or null.
  const XmlElement* find(const std::string& wanted) const;
};

// Throws UserError: unreadable, no well-formed XML, or larger than any product's metadata.
XmlElement read_xml(const std::filesystem::path& path);

}  // namespace unetd::io
