#include "kernels/cudnn/plan.h"

#include <algorithm>
#include <limits>

#include <cuda_runtime.h>

namespace unetd::cudnn {
namespace {

void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw Error(str("cuda: ", what, ": ", cudaGetErrorString(status)));
  }
}

struct Free {
  void operator()(void* memory) const noexcept { cudaFree(memory); }
};
using Memory = std::unique_ptr<void, Free>;

// Memory full of small numbers of the same sign in f32, bf16 and f16: zeros would cost less power,
// and denormal numbers or NaN more time.
Memory allocate(size_t bytes) {
  constexpr int content = 0x3c;
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, bytes), "memory to time a plan");
  Memory owner(memory);
  check_cuda(cudaMemset(memory, content, bytes), "filling memory");
  return owner;
}

class Event {
 public:
  Event() { check_cuda(cudaEventCreate(&event_), "event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record() { check_cuda(cudaEventRecord(event_, nullptr), "event"); }
  double seconds_since(const Event& earlier) const {
    check_cuda(cudaEventSynchronize(event_), "timed plan");
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "event");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

double seconds_of(const Plan& plan) {
  constexpr int repetitions = 5;
  std::vector<Memory> memory;
  std::vector<const void*> pointers;
  memory.reserve(plan.graph().argument_bytes().size());
  pointers.reserve(plan.graph().argument_bytes().size());
  for (const size_t bytes : plan.graph().argument_bytes()) {
    pointers.push_back(memory.emplace_back(allocate(bytes)).get());
  }
  const Memory workspace = allocate(std::max<size_t>(plan.workspace(), 1));
  const Stream stream{DeviceType::cuda, nullptr};
  plan.run(pointers, workspace.get(), stream);
  double least = std::numeric_limits<double>::infinity();
  Event start, end;
  for (int i = 0; i < repetitions; ++i) {
    start.record();
    plan.run(pointers, workspace.get(), stream);
    end.record();
    least = std::min(least, end.seconds_since(start));
  }
  return least;
}

}  // namespace unetd::cudnn
