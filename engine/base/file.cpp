#include "engine/base/file.h"

#include "engine/base/error.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace unetd {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* verb, int code) {
  const char* hint = code == ENOSPC   ? " (free some space and run again)"
                     : code == EACCES ? " (check the permissions of the folder)"
                     : code == ENOENT ? " (does the folder exist?)"
                                      : "";
  throw UserError(str("cannot ", verb, " ", path.string(), ": ", std::strerror(code), hint));
}

// The rename is durable only once the folder that holds the name is on disk, too.
void sync_folder(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // not all file systems let a folder be opened; the data are safe
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

std::filesystem::path temporary_beside(const std::filesystem::path& target) {
  static std::atomic<int> serial{0};
  std::filesystem::path name = target.parent_path() / ("." + target.stem().string());
  name += str(".partial-", ::getpid(), "-", serial++, target.extension().string());
  return name;
}

AtomicFile::AtomicFile(std::filesystem::path target)
    : target_(std::move(target)), temporary_(temporary_beside(target_)) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail(target_, "write", errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(descriptor_, at, bytes);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(target_, "write", errno);
    at += done;
    bytes -= static_cast<size_t>(done);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail(target_, "write", errno);
  const int closed = ::close(std::exchange(descriptor_, -1));
  if (closed != 0) fail(target_, "write", errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(target_, "write", errno);
  temporary_.clear();
  sync_folder(target_);
}

void publish(const std::filesystem::path& temporary, const std::filesystem::path& target) {
  const int descriptor = ::open(temporary.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(temporary, "read", errno);
  const int synced = ::fsync(descriptor);
  const int code = errno;
  ::close(descriptor);
  if (synced != 0) fail(target, "write", code);
  if (::rename(temporary.c_str(), target.c_str()) != 0) fail(target, "write", errno);
  sync_folder(target);
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(path, "read", errno);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) fail(path, "read", errno);
  return text;
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace unetd
