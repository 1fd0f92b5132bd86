// Device memory with one owner: the arena of a session, the flat buffers of the parameters.
#pragma once

#include "engine/device/backend.h"

#include <cstddef>
#include <memory>

namespace unetd {

namespace detail {
struct Release {
  Backend* backend = nullptr;
  size_t bytes = 0;
  void operator()(std::byte* p) const { backend->release(p, bytes); }
};
struct ReleaseStaging {
  Backend* backend = nullptr;
  size_t bytes = 0;
  void operator()(std::byte* p) const { backend->release_staging(p, bytes); }
};
}  // namespace detail

// Zero-filled and aligned to a page. Throws OutOfMemory.
class Buffer {
 public:
  Buffer() = default;
  Buffer(DeviceType device, size_t bytes);

  DeviceType device() const { return device_; }
  size_t bytes() const { return bytes_; }
  // An address on the device: for kernels and for the device's back end.
  std::byte* data() const { return data_.get(); }

 private:
  std::unique_ptr<std::byte, detail::Release> data_;
  size_t bytes_ = 0;
  DeviceType device_ = DeviceType::cpu;
};

// Device to device; the sizes must agree.
void copy(const Buffer& from, Buffer& to);

// The way of host data into device memory and back. Where the host reaches the device's memory it
// is the very memory; elsewhere data pass through a host buffer, taken at first use, that copies
// run to and from while the host goes on.
class Staging {
 public:
  explicit Staging(DeviceType device);

  // Calls write(std::byte* host), then has its `bytes` bytes copied to `to` in the queue's order.
  // Waits only when the copy of the call before has not left the host buffer.
  template <class Write>
  void upload(std::byte* to, size_t bytes, Write&& write) {
    if (backend_->host_reaches_memory()) return write(to);
    write(host(bytes));
    backend_->copy_in(to, host_.get(), bytes, stream_);
    passed_->record(stream_);
  }

  // Calls read(const std::byte* host) on the content of `from` once the queue has come there.
  template <class Read>
  auto download(const std::byte* from, size_t bytes, Read&& read) {
    if (backend_->host_reaches_memory()) return read(from);
    begin_download(from, bytes);
    return read(static_cast<const std::byte*>(finish_download()));
  }

  // The same in two steps, so that several downloads share one wait.
  void begin_download(const std::byte* from, size_t bytes);
  const std::byte* finish_download();

  // An upload in two steps: the first brings what write() writes into device memory of its own,
  // over the queue of copies, while kernels run; the second puts it in its place in their order.
  template <class Write>
  void begin_upload(size_t bytes, Write&& write) {
    write(host(bytes));
    send_ahead(bytes);
  }
  void finish_upload(std::byte* to);

 private:
  // At least `bytes` bytes that no copy uses any more.
  std::byte* host(size_t bytes);
  void send_ahead(size_t bytes);

  DeviceType device_;
  Backend* backend_;
  Stream stream_;
  std::unique_ptr<std::byte, detail::ReleaseStaging> host_;
  std::unique_ptr<Event> passed_;  // the last copy from or to the host buffer
  Buffer ahead_;                   // what begin_upload() brought
  std::unique_ptr<Event> placed_;  // when it was last put in place
};

}  // namespace unetd
