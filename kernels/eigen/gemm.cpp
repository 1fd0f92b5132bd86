#define Eigen EigenBaseline
#include "kernels/eigen/gemm_body.h"

namespace unetd::eigen {
namespace {

auto best_variant() {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
  return avx2 && avx512 ? gemm_avx512 : avx2 ? gemm_avx2 : gemm_baseline;
}

}  // namespace

void gemm_baseline(const Product& p) { multiply(p); }

void gemm(const Product& p) {
  static const auto variant = best_variant();
  variant(p);
}

}  // namespace unetd::eigen
