#include "engine/base/mapped_file.h"

#include "engine/base/error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace unetd {

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
    const int code = errno;
    if (descriptor >= 0) ::close(descriptor);
    throw UserError(str("cannot open ", path.string(), ": ", std::strerror(code)));
  }
  const auto size = static_cast<size_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || size == 0) {
    ::close(descriptor);
    throw UserError(
        str(path.string(), S_ISREG(status.st_mode) ? " is empty" : " is not a regular file"));
  }
  void* map = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  const int code = errno;
  ::close(descriptor);
  if (map == MAP_FAILED)
    throw UserError(str("cannot map ", path.string(), ": ", std::strerror(code)));
  bytes_ = {static_cast<const std::byte*>(map), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void advise(std::span<const std::byte> part, Access access) {
  if (part.empty()) return;
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t before = begin % page;  // hints begin at a page
  const int hint = access == Access::random ? POSIX_MADV_RANDOM : POSIX_MADV_WILLNEED;
  // Linux cuts a request to read at the disk's read-ahead, 128 KiB where nobody changed it.
  const size_t all = part.size() + before;
  const size_t step = access == Access::random ? all : size_t{128} << 10;
  for (size_t at = 0; at < all; at += step)
    ::posix_madvise(reinterpret_cast<void*>(begin - before + at), std::min(step, all - at), hint);
}

}  // namespace unetd
