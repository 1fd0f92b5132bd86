// What a device does beside running kernels: memory, copies, queues of work, times, captured
// graphs. One object per device type and process; a process uses one GPU. Kernels are issued to a
// single queue in order, so a copy there needs no other word to wait for the kernels before it. A
// second queue takes copies that run beside them; events order the two.
//
// On cpu and simt everything has happened when a call returns. simt keeps up the manners of a GPU:
// its memory counts as out of the host's reach, so that transfers take the way they take there.
#pragma once

#include "engine/device/device.h"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace unetd {

struct DeviceInfo {
  std::string name;                                       // "NVIDIA H200", a processor's model
  size_t free_bytes = 0, total_bytes = 0;                 // of its memory
  std::vector<std::pair<std::string, std::string>> more;  // what is worth telling beside
};

// A moment in the queue.
class Event {
 public:
  virtual ~Event() = default;
  virtual void record(const Stream& stream) = 0;
  // Returns when the queue has come to the recorded moment; at once if there is none. Throws Error
  // for what went wrong on the device until then.
  virtual void wait() = 0;
  // Has what is issued to `stream` from now on wait for the recorded moment, if there is one. The
  // host goes on.
  virtual void hold(const Stream& stream) = 0;
  // Time on the device between two moments that have been waited for.
  virtual double seconds_since(const Event& earlier) const = 0;
};

// Work that was recorded once and is issued as a whole.
class CapturedWork {
 public:
  virtual ~CapturedWork() = default;
  virtual void launch(const Stream& stream) = 0;
};

// Calls throw Error when the device fails. After a fault that the device does not recover from,
// every later call repeats the first cause.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  // Makes device `index` the one of this process. Throws UserError that says what is missing, or
  // that the process has another one already.
  virtual void open(int index) = 0;
  virtual DeviceInfo info() const = 0;
  // The queue that all sessions share.
  virtual Stream stream() = 0;
  // The queue of copies beside that one's kernels.
  virtual Stream copy_stream() = 0;

  // Can the host read and write what allocate() returns?
  virtual bool host_reaches_memory() const = 0;
  // Zero-filled, aligned to a page. Throws OutOfMemory.
  virtual std::byte* allocate(size_t bytes) = 0;
  virtual void release(std::byte* memory, size_t bytes) noexcept = 0;
  // Host memory that copies go to and come from without the host's help; content undefined.
  virtual std::byte* allocate_staging(size_t bytes) = 0;
  virtual void release_staging(std::byte* memory, size_t bytes) noexcept = 0;

  // Between host and device, or on the device; the host's side must stay until the queue is there.
  virtual void copy_in(void* device, const void* host, size_t bytes, const Stream& stream) = 0;
  virtual void copy_out(void* host, const void* device, size_t bytes, const Stream& stream) = 0;
  virtual void copy(void* to, const void* from, size_t bytes, const Stream& stream) = 0;
  virtual void fill(void* memory, unsigned char value, size_t bytes, const Stream& stream) = 0;
  // Returns when the queue is empty. Throws Error for what went wrong in it.
  virtual void sync(const Stream& stream) = 0;

  virtual std::unique_ptr<Event> make_event() = 0;
  // Records what `issue` issues to the stream, without running it. Null where devices replay no
  // graphs; `issue` is then not called.
  virtual std::unique_ptr<CapturedWork> capture(const Stream& stream,
                                                const std::function<void()>& issue) = 0;
  // Names a stretch of the host's time for profilers; see Range.
  virtual void push_range(const char* name) noexcept = 0;
  virtual void pop_range() noexcept = 0;
};

// A named range for profilers, as long as the object lives.
class Range {
 public:
  Range(Backend& device, const char* name) : device_(device) { device_.push_range(name); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
  ~Range() { device_.pop_range(); }

 private:
  Backend& device_;
};

// The back end of an opened device. Throws Error for one that was not opened.
Backend& backend(DeviceType device);

// Makes `cuda` the back end for CUDA devices: what the CUDA library does when it is loaded. Returns
// the one before, if any.
std::unique_ptr<Backend> register_cuda_backend(std::unique_ptr<Backend> cuda);

// The CUDA library brings the back end and the kernels for GPUs. It is apart from the programs, so
// that they start at once and run where no CUDA is. This is its file beside the program or in the
// library folder it was installed to, or empty.
std::filesystem::path cuda_library_file();

// Loads it, once: that file, or what the dynamic loader finds. Returns why that is impossible, or
// an empty string. Does not look for a GPU. Kernels of other devices must be registered before.
std::string load_cuda();

}  // namespace unetd
