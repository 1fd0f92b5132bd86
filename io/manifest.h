// What a product's manifest.safe says of its files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace unetd::io {

class Manifest {
 public:
  // Of a product's folder. Empty where there is none, and for archives, whose own checksums hold.
  // Throws UserError if it is no XML.
  explicit Manifest(const std::filesystem::path& folder);

  // Reads a file of the product whole and compares it with its digest, once a process. Files that
  // are not listed, or whose size is another than the listed one, pass: products that were cut to
  // an area keep their manifests. Throws UserError that names the file.
  void verify(const std::filesystem::path& file) const;

 private:
  struct Entry {
    int64_t size = 0;
    std::string method, digest;
  };

  std::filesystem::path folder_;
  std::map<std::string, Entry> entries_;  // by path from the folder
};

}  // namespace unetd::io
