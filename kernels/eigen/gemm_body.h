// The body of the gemm variants. Each includes it once, after giving `Eigen` a name of its own.
#define EIGEN_DONT_PARALLELIZE  // the callers' loops are parallel
#include "kernels/eigen/gemm.h"

#include <Eigen/Core>

namespace unetd::eigen {
namespace {

void multiply(const Product& p) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Rows = Eigen::OuterStride<>;
  using Input = Eigen::Map<const Matrix, 0, Rows>;
  const Input b(p.b, p.k, p.n, Rows(p.ldb));
  Eigen::Map<Matrix, 0, Rows> c(p.c, p.m, p.n, Rows(p.ldc));
  if (p.a_transposed) {
    c.noalias() += Input(p.a, p.k, p.m, Rows(p.lda)).transpose() * b;
  } else {
    c.noalias() += Input(p.a, p.m, p.k, Rows(p.lda)) * b;
  }
}

}  // namespace
}  // namespace unetd::eigen
