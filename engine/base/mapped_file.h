// A whole file in memory, read-only, as the operating system maps it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace unetd {

// The mapping keeps the file's content alive; moving it keeps its address.
class MappedFile {
 public:
  // Throws UserError naming the file: absent, unreadable, empty, no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace unetd
