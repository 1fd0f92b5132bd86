#include "kernels/register.h"

#include "kernels/cpu/register.h"
#include "kernels/cuda/register.h"
#include "kernels/eigen/eigen.h"
#include "kernels/ref/register.h"
#if UNETD_HAVE_ONEDNN
#include "kernels/onednn/onednn.h"
#endif

namespace unetd {
namespace {

bool register_all() {
#if UNETD_HAVE_ONEDNN
  onednn::register_kernels();
#endif
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    avx512::register_kernels();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) avx2::register_kernels();
  eigen::register_kernels();
  ref::register_kernels();
  simt_emu::register_kernels();
  return true;
}

}  // namespace

void register_kernels() {
  static const bool once = register_all();
  (void)once;
}

}  // namespace unetd
