// The back ends of cpu and simt: host memory, and a queue that is always empty.
#include "engine/device/backend.h"

#include "engine/base/error.h"
#include "engine/base/threads.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace unetd {
namespace {

constexpr size_t page = 4096, huge_page = size_t{2} << 20;

size_t mapped_bytes(size_t bytes) {
  const size_t alignment = bytes >= huge_page ? huge_page : page;
  return (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
}

size_t system_bytes(int pages_key) {
  const long pages = sysconf(pages_key), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? static_cast<size_t>(pages) * static_cast<size_t>(size) : 0;
}

// What a process can still take: the system's memory but for what it could not give back, within
// the limit that the shell or a batch system set.
size_t available_bytes() {
  size_t available = system_bytes(_SC_AVPHYS_PAGES);
  std::ifstream system("/proc/meminfo");
  for (std::string key, rest; system >> key && std::getline(system, rest);) {
    if (key == "MemAvailable:") available = std::stoull(rest) << 10;  // from KiB
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return available;
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const size_t used = pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return std::min(available, limit.rlim_cur - std::min<size_t>(limit.rlim_cur, used));
}

class HostEvent final : public Event {
 public:
  void record(const Stream&) override { time_ = Clock::now(); }
  void wait() override {}
  void hold(const Stream&) override {}
  double seconds_since(const Event& earlier) const override {
    const auto& other = static_cast<const HostEvent&>(earlier);
    return std::chrono::duration<double>(time_ - other.time_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point time_;
};

class HostBackend final : public Backend {
 public:
  explicit HostBackend(DeviceType device) : device_(device) {}

  void open(int) override {}
  DeviceInfo info() const override {
    return {cpu_name(), available_bytes(), system_bytes(_SC_PHYS_PAGES), {}};
  }
  Stream stream() override { return {device_, nullptr}; }
  Stream copy_stream() override { return stream(); }

  bool host_reaches_memory() const override { return device_ == DeviceType::cpu; }
  // Large blocks ask for huge pages and are touched at once, so that no step pays for page faults.
  std::byte* allocate(size_t bytes) override {
    const size_t mapped = mapped_bytes(bytes);
    void* p = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
      throw OutOfMemory(str("out of memory: ", mapped >> 20, " MiB wanted, ",
                            available_bytes() >> 20, " MiB free"));
    }
    auto* const memory = static_cast<std::byte*>(p);
    if (bytes < huge_page) return memory;
    ::madvise(p, mapped, MADV_HUGEPAGE);  // a hint: without it the memory works just as well
    parallel_chunks(static_cast<int64_t>(mapped), huge_page, [&](int64_t begin, int64_t end) {
      std::memset(memory + begin, 0, static_cast<size_t>(end - begin));
    });
    return memory;
  }
  void release(std::byte* memory, size_t bytes) noexcept override {
    ::munmap(memory, mapped_bytes(bytes));
  }
  std::byte* allocate_staging(size_t bytes) override { return allocate(bytes); }
  void release_staging(std::byte* memory, size_t bytes) noexcept override {
    release(memory, bytes);
  }

  void copy_in(void* device, const void* host, size_t bytes, const Stream&) override {
    std::memcpy(device, host, bytes);
  }
  void copy_out(void* host, const void* device, size_t bytes, const Stream&) override {
    std::memcpy(host, device, bytes);
  }
  void copy(void* to, const void* from, size_t bytes, const Stream&) override {
    std::memcpy(to, from, bytes);
  }
  void fill(void* memory, unsigned char value, size_t bytes, const Stream&) override {
    std::memset(memory, value, bytes);
  }
  void sync(const Stream&) override {}

  std::unique_ptr<Event> make_event() override { return std::make_unique<HostEvent>(); }
  std::unique_ptr<CapturedWork> capture(const Stream&, const std::function<void()>&) override {
    return nullptr;
  }
  void push_range(const char*) noexcept override {}
  void pop_range() noexcept override {}

 private:
  DeviceType device_;
};

std::unique_ptr<Backend>& cuda_backend() {
  static std::unique_ptr<Backend> instance;
  return instance;
}

}  // namespace

std::unique_ptr<Backend> register_cuda_backend(std::unique_ptr<Backend> cuda) {
  return std::exchange(cuda_backend(), std::move(cuda));
}

Backend& backend(DeviceType device) {
  static HostBackend cpu(DeviceType::cpu), simt(DeviceType::simt);
  if (device == DeviceType::cpu) return cpu;
  if (device == DeviceType::simt) return simt;
  if (!cuda_backend()) throw Error("the CUDA library is not loaded");
  return *cuda_backend();
}

}  // namespace unetd
