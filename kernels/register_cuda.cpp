// What the CUDA library does when it is loaded (engine/device/load_cuda.cpp): its back end and its
// kernels enter the lists of the program that loads it.
#include "engine/device/cuda.h"
#include "kernels/cuda/register.h"

#include <string_view>

// Returns whether `program`, a version, is the library's own: lists of another one may look
// different.
extern "C" bool unetd_register_cuda(const char* program) {
  if (std::string_view(program) != UNETD_VERSION) return false;
  unetd::register_cuda_backend(unetd::cuda::make_backend());
  unetd::cuda::register_kernels();
  return true;
}
