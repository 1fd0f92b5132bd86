// Files that appear whole or not at all: written under a temporary name, flushed to disk, renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace unetd {

// A file being written beside its final place. commit() makes it appear there; without commit the
// destructor removes it. Throws UserError naming the file on any failure (no folder, full disk).
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  int descriptor_ = -1;
};

// Where an output that another library writes goes until publish() renames it into place: the same
// folder and suffix as `target`, a name of its own per process.
std::filesystem::path temporary_beside(const std::filesystem::path& target);
// fsyncs `temporary` (a file) and renames it to `target`. Throws UserError.
void publish(const std::filesystem::path& temporary, const std::filesystem::path& target);

// The whole content. Throws UserError if it cannot be read.
std::string read_file(const std::filesystem::path& path);
// AtomicFile in one call.
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace unetd
