// The safetensors container: an 8-byte little-endian header length, a JSON header that names each
// tensor's dtype, shape and byte range, then the raw bytes
// (https://github.com/huggingface/safetensors#format). Checkpoints and patch stores are such files.
#pragma once

#include "engine/base/dtype.h"
#include "engine/base/mapped_file.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace unetd {

struct SafeTensorInfo {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  size_t begin = 0, end = 0;  // byte range within the data section
};

// A memory-mapped file. Every offset and size in the header is checked against the file when it is
// opened: UserError names the file and what is wrong with it (truncated, not safetensors, overlap).
class SafeTensorsFile {
 public:
  explicit SafeTensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, SafeTensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  // Throws UserError if there is no such tensor.
  const SafeTensorInfo& info(const std::string& name) const;
  std::span<const std::byte> bytes(const std::string& name) const;

 private:
  MappedFile file_;
  std::map<std::string, SafeTensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  size_t data_offset_ = 0;
};

struct SafeTensorEntry {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

// Writes the file atomically (engine/base/file.h). Entries are stored in the order given, the data
// section starts on an 8-byte boundary, metadata values are strings.
void write_safetensors(const std::filesystem::path& path, std::span<const SafeTensorEntry> entries,
                       const std::map<std::string, std::string>& metadata);

}  // namespace unetd
