// A matrix product by cuBLASLt, its algorithm chosen once.
#pragma once

#include "engine/base/dtype.h"
#include "engine/device/device.h"

#include <cstdint>
#include <optional>

#include <cublasLt.h>

namespace unetd::cublas {

// d = a b, with a (m, k), b (k, n) and d (m, n) dense and row-major. Products are summed in f32.
struct GemmProblem {
  int64_t m, n, k;
  bool a_transposed = false, b_transposed = false;  // stored as (k, m), as (n, k)
  DType in = DType::f32, out = DType::f32;          // of a and b, of d
  bool bias = false;                                // f32, (n), added to every row of d
  bool relu = false;                                // after the bias
};

class Gemm {
 public:
  // Nothing if cuBLASLt has no algorithm. Throws Error if it fails for another reason.
  static std::optional<Gemm> make(const GemmProblem& p);

  size_t workspace() const { return workspace_; }
  const GemmProblem& problem() const { return problem_; }
  // Executes on stream.native. Pointers are aligned to 16 bytes; bias may be null if there is none.
  void run(const void* a, const void* b, const void* bias, void* d, void* workspace,
           const Stream& stream) const;

 private:
  explicit Gemm(const GemmProblem& p);
  bool choose_algorithm();

  GemmProblem problem_;
  // Plain data in spite of their names; nothing needs to be released.
  cublasLtMatmulDescOpaque_t product_{};
  cublasLtMatrixLayoutOpaque_t first_{}, second_{}, result_{};
  cublasLtMatmulAlgo_t algorithm_{};
  size_t workspace_ = 0;
};

}  // namespace unetd::cublas
