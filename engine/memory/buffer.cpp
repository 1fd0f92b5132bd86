#include "engine/memory/buffer.h"

#include "engine/base/error.h"

namespace unetd {

Buffer::Buffer(DeviceType device, size_t bytes) : bytes_(bytes), device_(device) {
  Backend& owner = backend(device);
  data_ = {owner.allocate(bytes), detail::Release{&owner, bytes}};
}

void copy(const Buffer& from, Buffer& to) {
  UNETD_CHECK(from.bytes() == to.bytes() && from.device() == to.device(), from.bytes(),
              " bytes on ", name_of(from.device()), " copied to ", to.bytes(), " bytes on ",
              name_of(to.device()));
  Backend& device = backend(from.device());
  device.copy(to.data(), from.data(), from.bytes(), device.stream());
}

Staging::Staging(DeviceType device)
    : device_(device),
      backend_(&backend(device)),
      stream_(backend_->stream()),
      passed_(backend_->make_event()),
      placed_(backend_->make_event()) {}

std::byte* Staging::host(size_t bytes) {
  passed_->wait();
  if (host_.get_deleter().bytes < bytes || !host_) {
    host_.reset();
    host_ = {backend_->allocate_staging(bytes), detail::ReleaseStaging{backend_, bytes}};
  }
  return host_.get();
}

void Staging::begin_download(const std::byte* from, size_t bytes) {
  backend_->copy_out(host(bytes), from, bytes, stream_);
  passed_->record(stream_);
}

const std::byte* Staging::finish_download() {
  passed_->wait();
  return host_.get();
}

void Staging::send_ahead(size_t bytes) {
  if (ahead_.bytes() != bytes) {
    ahead_ = Buffer(device_, bytes);
    placed_->record(stream_);  // its zeros come in that queue, too
  }
  const Stream copies = backend_->copy_stream();
  placed_->hold(copies);
  backend_->copy_in(ahead_.data(), host_.get(), bytes, copies);
  passed_->record(copies);
}

void Staging::finish_upload(std::byte* to) {
  passed_->hold(stream_);
  backend_->copy(to, ahead_.data(), ahead_.bytes(), stream_);
  placed_->record(stream_);
}

}  // namespace unetd
