// Compiled with -mavx512f -mavx512dq; nothing else may be defined here.
#define Eigen EigenAvx512
#include "kernels/eigen/gemm_body.h"

void unetd::eigen::gemm_avx512(const Product& p) { multiply(p); }
