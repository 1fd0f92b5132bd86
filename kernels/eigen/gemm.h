// Eigen's matrix product behind a plain function. It is compiled once per instruction set, each
// time with Eigen's namespace renamed so that the linker cannot mix the equally named templates;
// the best variant for this processor is taken at run time.
#pragma once

#include <cstdint>

namespace unetd::eigen {

// c (m x n) += a * b, all row-major with rows `lda`, `ldb`, `ldc` elements apart. a is m x k or,
// when `a_transposed`, stored as k x m.
struct Product {
  int64_t m, n, k;
  const float* a;
  int64_t lda;
  bool a_transposed;
  const float* b;
  int64_t ldb;
  float* c;
  int64_t ldc;
};

void gemm(const Product& p);

// The variants behind gemm().
void gemm_baseline(const Product& p);
void gemm_avx2(const Product& p);
void gemm_avx512(const Product& p);

}  // namespace unetd::eigen
