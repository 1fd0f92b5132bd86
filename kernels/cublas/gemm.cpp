#include "kernels/cublas/gemm.h"

#include "engine/base/error.h"

namespace unetd::cublas {
namespace {

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error(str("cublas: ", what, ": ", cublasLtGetStatusString(status)));
  }
}

cublasLtHandle_t handle() {
  // Never destroyed: at the end of the process the driver may be gone before us.
  static cublasLtHandle_t const made = [] {
    cublasLtHandle_t h = nullptr;
    check(cublasLtCreate(&h), "handle");
    return h;
  }();
  return made;
}

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDA_R_32F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    default:
      throw Error(str("cublas: no matrix products of ", name_of(dtype)));
  }
}

// A row-major (rows, columns) matrix is cuBLAS's column-major (columns, rows).
cublasLtMatrixLayoutOpaque_t layout(DType dtype, int64_t rows, int64_t columns) {
  cublasLtMatrixLayoutOpaque_t l{};
  check(cublasLtMatrixLayoutInit(&l, data_type(dtype), static_cast<uint64_t>(columns),
                                 static_cast<uint64_t>(rows), columns),
        "matrix");
  return l;
}

template <class T>
void set(cublasLtMatmulDescOpaque_t& product, cublasLtMatmulDescAttributes_t name, const T& value) {
  check(cublasLtMatmulDescSetAttribute(&product, name, &value, sizeof value), "product");
}

class Preference {
 public:
  Preference() { check(cublasLtMatmulPreferenceInit(&native_), "preference"); }
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t name, const T& value) {
    check(cublasLtMatmulPreferenceSetAttribute(&native_, name, &value, sizeof value), "preference");
  }
  cublasLtMatmulPreference_t native() { return &native_; }

 private:
  cublasLtMatmulPreferenceOpaque_t native_{};
};

// What every algorithm must keep to: our alignment, a bounded workspace, and sums that are split
// are joined in f32 from the workspace, not in the type of the result.
Preference preference() {
  constexpr uint64_t workspace_limit = uint64_t{32} << 20;
  constexpr uint32_t alignment = 16;
  Preference p;
  p.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_limit);
  p.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  for (const auto name :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    p.set(name, alignment);
  }
  return p;
}

cublasLtEpilogue_t epilogue(const GemmProblem& p) {
  if (p.bias) return p.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
  return p.relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
}

}  // namespace

// The product is handed over transposed, d' = b' a', since cuBLAS reads row-major matrices as
// transposed ones: b is its first factor, and a column of ours is a row of its result, which is
// what its bias goes along.
Gemm::Gemm(const GemmProblem& p)
    : problem_(p),
      first_(p.b_transposed ? layout(p.in, p.n, p.k) : layout(p.in, p.k, p.n)),
      second_(p.a_transposed ? layout(p.in, p.k, p.m) : layout(p.in, p.m, p.k)),
      result_(layout(p.out, p.m, p.n)) {
  check(cublasLtMatmulDescInit(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "product");
  const auto operation = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(product_, CUBLASLT_MATMUL_DESC_TRANSA, operation(p.b_transposed));
  set(product_, CUBLASLT_MATMUL_DESC_TRANSB, operation(p.a_transposed));
  set(product_, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue(p));
  if (!p.bias) return;
  set(product_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
  // Algorithms are chosen before there is a bias, and by its address: one of our alignment.
  constexpr uintptr_t stand_in = 16;
  set(product_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, stand_in);
}

bool Gemm::choose_algorithm() {
  Preference wanted = preference();
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle(), &product_, &first_, &second_, &result_, &result_,
                                     wanted.native(), 1, &found, &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && count == 0)) {
    return false;
  }
  check(status, "choice of an algorithm");
  algorithm_ = found.algo;
  workspace_ = found.workspaceSize;
  return true;
}

std::optional<Gemm> Gemm::make(const GemmProblem& p) {
  Gemm gemm(p);
  if (!gemm.choose_algorithm()) return {};
  return gemm;
}

void Gemm::run(const void* a, const void* b, const void* bias, void* d, void* workspace,
               const Stream& stream) const {
  constexpr float one = 1, zero = 0;
  Gemm call = *this;  // cuBLASLt wants its descriptors mutable, and the bias is part of one
  if (problem_.bias) set(call.product_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  check(cublasLtMatmul(handle(), &call.product_, &one, b, &call.first_, a, &call.second_, &zero, d,
                       &call.result_, d, &call.result_, &algorithm_, workspace, workspace_,
                       static_cast<cudaStream_t>(stream.native)),
        "matrix product");
}

}  // namespace unetd::cublas
