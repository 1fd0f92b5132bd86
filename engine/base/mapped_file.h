// A whole file in memory, read-only, as the operating system maps it.
#pragma once

#include <cstddef>
#include <cstdint>
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

// How a part of a mapped file is going to be read: in no order, so that the system reads nothing
// around it, or soon, so that it begins to read now. It may take or leave the hint.
enum class Access : uint8_t { random, soon };
void advise(std::span<const std::byte> part, Access access);

}  // namespace unetd
