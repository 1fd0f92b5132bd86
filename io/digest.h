// Digests of files as products' manifests state them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace unetd::io {

class Digest {
 public:
  // "MD5" (RFC 1321) or "SHA3-256" (FIPS 202); null for other names.
  static std::unique_ptr<Digest> named(const std::string& name);
  virtual ~Digest() = default;
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void add(std::span<const std::byte> bytes);
  // Of all that was added, in lower-case hexadecimal. Nothing may be added afterwards.
  std::string finish();

 protected:
  explicit Digest(size_t block) : block_(block) {}
  virtual void absorb(const std::byte* block) = 0;
  // What follows the last whole block: `rest` and the padding, whole blocks again.
  virtual std::vector<std::byte> padded(std::vector<std::byte> rest, uint64_t total) const = 0;
  virtual std::vector<std::byte> result() const = 0;

  size_t block() const { return block_; }

 private:
  size_t block_;
  uint64_t total_ = 0;
  std::vector<std::byte> rest_;  // less than a block
};

}  // namespace unetd::io
