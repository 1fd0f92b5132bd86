// CUDA's errors as exceptions that remember what broke the device first. For engine/device/cuda*
// and the GPU kernels; part of the CUDA library only.
#pragma once

#include <cuda_runtime.h>

namespace unetd::cuda {

// Throws Error with the call's text and CUDA's message, OutOfMemory for cudaErrorMemoryAllocation.
// Faults that end the context (bad addresses, failed launches) are remembered: from then on this
// repeats the first of them, whatever `status` is.
void check(cudaError_t status, const char* call);

// Throws Error when such a fault has been met.
void check_usable();

}  // namespace unetd::cuda

#define UNETD_CUDA(call) ::unetd::cuda::check((call), #call)
