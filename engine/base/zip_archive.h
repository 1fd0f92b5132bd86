// The directory of a ZIP archive (APPNOTE 6.3, with ZIP64) whose files are stored without
// compression, which is what PyTorch writes. Nothing is unpacked: a file is a part of the archive's
// bytes.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace unetd {

class ZipArchive {
 public:
  // `bytes` must outlive the archive; `name` is what messages call it. Throws UserError for what is
  // no archive, is cut or damaged, has compressed or encrypted files, two of one name, or files
  // that overlap.
  ZipArchive(std::span<const std::byte> bytes, std::string name);

  // By their whole paths in the archive.
  const std::map<std::string, std::span<const std::byte>, std::less<>>& files() const {
    return files_;
  }
  // Throws UserError if there is no such file.
  std::span<const std::byte> file(std::string_view path) const;

 private:
  std::string name_;
  std::map<std::string, std::span<const std::byte>, std::less<>> files_;
};

// Does this begin as ZIP archives do?
bool is_zip(std::span<const std::byte> bytes);

}  // namespace unetd
