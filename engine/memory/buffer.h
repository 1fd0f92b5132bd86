// Device memory with one owner: the arena of a session, the flat buffers of the parameters.
#pragma once

#include "engine/device/device.h"

#include <cstddef>
#include <memory>

namespace unetd {

namespace detail {
struct Unmap {
  size_t mapped = 0;
  void operator()(std::byte* p) const;
};
}  // namespace detail

// Zero-filled and aligned to a page. Large buffers ask for huge pages and are touched at once, so
// that no step pays for page faults. Throws Error when memory runs out.
class Buffer {
 public:
  Buffer() = default;
  Buffer(DeviceType device, size_t bytes);

  DeviceType device() const { return device_; }
  size_t bytes() const { return bytes_; }
  std::byte* data() const { return data_.get(); }

 private:
  std::unique_ptr<std::byte, detail::Unmap> data_;
  size_t bytes_ = 0;
  DeviceType device_ = DeviceType::cpu;
};

}  // namespace unetd
