// Compiled with -mavx2 -mfma; nothing else may be defined here.
#define Eigen EigenAvx2
#include "kernels/eigen/gemm_body.h"

void unetd::eigen::gemm_avx2(const Product& p) { multiply(p); }
