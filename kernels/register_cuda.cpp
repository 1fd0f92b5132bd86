// What the CUDA library does when it is loaded (engine/device/load_cuda.cpp): its back end and its
// kernels enter the lists of the program that loads it.
#include "engine/device/cuda.h"
#include "engine/op/registry.h"
#include "kernels/cublas/register.h"
#include "kernels/cuda/register.h"
#if UNETD_HAVE_CUDNN
#include "kernels/cudnn/register.h"
#endif

#include <string_view>

namespace {

// The order of preference. cuBLASLt takes 1x1 convolutions only, where nothing is faster; for
// transposed convolutions cuDNN comes first, whose kernels need no copies. The hand-written kernels
// take everything; what stands behind them is there to be chosen by name.
void register_kernels() {
  unetd::cublas::register_conv2d();
#if UNETD_HAVE_CUDNN
  unetd::cudnn::register_conv2d();
  unetd::cudnn::register_conv_transpose2x2();
#endif
  unetd::cublas::register_conv_transpose2x2();
  unetd::cuda::register_kernels();
#if UNETD_HAVE_CUDNN
  unetd::cudnn::register_last();
#endif
  std::vector<std::string>& libraries = unetd::libraries(unetd::DeviceType::cuda);
  libraries.push_back(unetd::cublas::library());
#if UNETD_HAVE_CUDNN
  libraries.push_back(unetd::cudnn::library());
#endif
}

}  // namespace

// Returns whether `program`, a version, is the library's own: lists of another one may look
// different.
extern "C" bool unetd_register_cuda(const char* program) {
  if (std::string_view(program) != UNETD_VERSION) return false;
  unetd::register_cuda_backend(unetd::cuda::make_backend());
  register_kernels();
  return true;
}
