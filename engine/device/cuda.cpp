// Kernels go to one stream of our own, copies beside them to another; the legacy default stream,
// which would wait for everything, is never used.
#include "engine/device/cuda.h"

#include "engine/base/error.h"
#include "engine/device/cuda_error.h"

#include <algorithm>
#include <functional>

#include <nvtx3/nvToolsExt.h>

namespace unetd::cuda {
namespace {

constexpr int least_major = 8;  // compute capability: bf16, cp.async and mma of 16-bit types

cudaStream_t native(const Stream& stream) { return static_cast<cudaStream_t>(stream.native); }

// CUDA writes 13.0 as 13000.
std::string version_text(int version) {
  constexpr int major_factor = 1000, minor_factor = 10;
  return str(version / major_factor, ".", version % major_factor / minor_factor);
}

class CudaEvent final : public Event {
 public:
  CudaEvent() { UNETD_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDefault)); }
  ~CudaEvent() override { cudaEventDestroy(event_); }
  void record(const Stream& stream) override {
    UNETD_CUDA(cudaEventRecord(event_, native(stream)));
  }
  void wait() override { UNETD_CUDA(cudaEventSynchronize(event_)); }
  void hold(const Stream& stream) override {
    UNETD_CUDA(cudaStreamWaitEvent(native(stream), event_, cudaEventWaitDefault));
  }
  double seconds_since(const Event& earlier) const override {
    constexpr double seconds_per_ms = 1e-3;
    float ms = 0;
    UNETD_CUDA(cudaEventElapsedTime(&ms, static_cast<const CudaEvent&>(earlier).event_, event_));
    return seconds_per_ms * ms;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaGraph final : public CapturedWork {
 public:
  explicit CudaGraph(cudaGraphExec_t graph) : graph_(graph) {}
  ~CudaGraph() override { cudaGraphExecDestroy(graph_); }
  void launch(const Stream& stream) override {
    UNETD_CUDA(cudaGraphLaunch(graph_, native(stream)));
  }

 private:
  cudaGraphExec_t graph_;
};

// A capture in progress. The capture ends with the object even where issuing throws, or the stream
// would stay unusable.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    // Other threads may allocate meanwhile: only this one's calls are restricted.
    UNETD_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() {
    if (!ended_) cudaStreamEndCapture(stream_, &graph_);
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }
  cudaGraph_t end() {
    ended_ = true;
    UNETD_CUDA(cudaStreamEndCapture(stream_, &graph_));
    return graph_;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  bool ended_ = false;
};

// Throws UserError unless there is a driver that serves this library, and a GPU.
int count_devices() {
  int driver = 0, runtime = 0, count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaDriverGetVersion(&driver);  // 0 where there is none
  cudaRuntimeGetVersion(&runtime);
  if (status == cudaSuccess && count > 0) return count;
  if (driver == 0) throw UserError("there is no NVIDIA driver (libcuda.so.1); install one");
  if (status == cudaErrorInsufficientDriver) {
    throw UserError(str("the NVIDIA driver is too old: it serves CUDA ", version_text(driver),
                        ", this build needs ", version_text(runtime), "; update the driver"));
  }
  if (status == cudaSuccess || status == cudaErrorNoDevice) {
    throw UserError("there is a driver but no GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES");
  }
  throw UserError(str("CUDA does not start: ", cudaGetErrorString(status), " (",
                      cudaGetErrorName(status), ")"));
}

class CudaBackend final : public Backend {
 public:
  void open(int index) override {
    if (index_ == index) return;
    if (index_ >= 0) {
      throw UserError(str("this process computes on cuda:", index_, " already"));
    }
    const int count = count_devices();
    if (index >= count) {
      throw UserError(str("there is no GPU ", index, "; the last one is cuda:", count - 1));
    }
    UNETD_CUDA(cudaGetDeviceProperties(&properties_, index));
    if (properties_.major < least_major) {
      throw UserError(str("cuda:", index, ", ", properties_.name, ", has compute capability ",
                          properties_.major, ".", properties_.minor, "; the kernels need ",
                          least_major, ".0 (Ampere) or newer"));
    }
    UNETD_CUDA(cudaSetDevice(index));
    UNETD_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    UNETD_CUDA(cudaStreamCreateWithFlags(&copy_stream_, cudaStreamNonBlocking));
    index_ = index;
  }

  DeviceInfo info() const override {
    enter();
    DeviceInfo info{properties_.name, 0, 0, {}};
    UNETD_CUDA(cudaMemGetInfo(&info.free_bytes, &info.total_bytes));
    int driver = 0, runtime = 0;
    UNETD_CUDA(cudaDriverGetVersion(&driver));
    UNETD_CUDA(cudaRuntimeGetVersion(&runtime));
    info.more = {{"compute_capability", str(properties_.major, ".", properties_.minor)},
                 {"multiprocessors", str(properties_.multiProcessorCount)},
                 {"level2_cache_mib", str(properties_.l2CacheSize >> 20)},
                 {"cuda_of_driver", version_text(driver)},
                 {"cuda_of_build", version_text(runtime)}};
    return info;
  }

  Stream stream() override {
    enter();
    return {DeviceType::cuda, stream_};
  }
  Stream copy_stream() override {
    enter();
    return {DeviceType::cuda, copy_stream_};
  }

  bool host_reaches_memory() const override { return false; }
  std::byte* allocate(size_t bytes) override {
    enter();
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, std::max<size_t>(bytes, 1));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      const DeviceInfo now = info();
      throw OutOfMemory(str("out of memory on cuda:", index_, ": ", bytes >> 20, " MiB wanted, ",
                            now.free_bytes >> 20, " of ", now.total_bytes >> 20, " MiB free"));
    }
    check(status, "cudaMalloc");
    auto* const result = static_cast<std::byte*>(memory);
    fill(result, 0, bytes, {DeviceType::cuda, stream_});
    return result;
  }
  // Errors of what ran before come back here, too; they are reported where they can be thrown.
  void release(std::byte* memory, size_t) noexcept override { cudaFree(memory); }
  std::byte* allocate_staging(size_t bytes) override {
    enter();
    void* memory = nullptr;
    UNETD_CUDA(cudaMallocHost(&memory, std::max<size_t>(bytes, 1)));
    return static_cast<std::byte*>(memory);
  }
  void release_staging(std::byte* memory, size_t) noexcept override { cudaFreeHost(memory); }

  void copy_in(void* device, const void* host, size_t bytes, const Stream& stream) override {
    transfer(device, host, bytes, cudaMemcpyHostToDevice, stream);
  }
  void copy_out(void* host, const void* device, size_t bytes, const Stream& stream) override {
    transfer(host, device, bytes, cudaMemcpyDeviceToHost, stream);
  }
  void copy(void* to, const void* from, size_t bytes, const Stream& stream) override {
    transfer(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
  }
  void fill(void* memory, unsigned char value, size_t bytes, const Stream& stream) override {
    enter();
    UNETD_CUDA(cudaMemsetAsync(memory, value, bytes, native(stream)));
  }
  void sync(const Stream& stream) override {
    enter();
    UNETD_CUDA(cudaStreamSynchronize(native(stream)));
  }

  std::unique_ptr<Event> make_event() override {
    enter();
    return std::make_unique<CudaEvent>();
  }
  std::unique_ptr<CapturedWork> capture(const Stream& stream,
                                        const std::function<void()>& issue) override {
    enter();
    Capture capture(native(stream));
    issue();
    cudaGraphExec_t graph = nullptr;
    UNETD_CUDA(cudaGraphInstantiate(&graph, capture.end(), 0));
    return std::make_unique<CudaGraph>(graph);
  }
  void push_range(const char* name) noexcept override { nvtxRangePushA(name); }
  void pop_range() noexcept override { nvtxRangePop(); }

 private:
  // Before any work: the device may be broken, and the calling thread may have met it never before.
  void enter() const {
    check_usable();
    thread_local bool current = false;
    if (current) return;
    UNETD_CHECK(index_ >= 0, "no CUDA device is open");
    UNETD_CUDA(cudaSetDevice(index_));
    current = true;
  }
  void transfer(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                const Stream& stream) {
    enter();
    UNETD_CUDA(cudaMemcpyAsync(to, from, bytes, kind, native(stream)));
  }

  int index_ = -1;
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr, copy_stream_ = nullptr;
};

}  // namespace

std::unique_ptr<Backend> make_backend() { return std::make_unique<CudaBackend>(); }

}  // namespace unetd::cuda
