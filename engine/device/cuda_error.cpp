#include "engine/device/cuda_error.h"

#include "engine/base/error.h"

#include <atomic>
#include <mutex>
#include <string>

namespace unetd::cuda {
namespace {

// What broke the context, and every later call with it.
class FirstCause {
 public:
  void remember(const std::string& cause) {
    const std::lock_guard lock(mutex_);
    if (known_) return;
    cause_ = cause;
    known_ = true;
  }
  void raise() const {
    if (known_) throw Error(cause_);
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> known_{false};  // asked before every launch
  std::string cause_;               // does not change once it is known
};

FirstCause& first_cause() {
  static FirstCause instance;
  return instance;
}

// The errors that CUDA's manual calls an inconsistent state: the process must end to use the device
// again.
bool ends_context(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorExternalDevice:
    case cudaErrorContextIsDestroyed:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

}  // namespace

void check_usable() { first_cause().raise(); }

void check(cudaError_t status, const char* call) {
  check_usable();
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that was reported is not for the next call to find
  const std::string message =
      str(call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(message);
  if (ends_context(status)) {
    first_cause().remember(
        str("the GPU failed: ", message, "; UNETD_SYNC=1 names the operation at fault"));
    check_usable();
  }
  throw Error(message);
}

}  // namespace unetd::cuda
