// Marks a function that kernels call as well.
#pragma once

#if defined(__CUDACC__)
#define UNETD_HOST_DEVICE __host__ __device__
#else
#define UNETD_HOST_DEVICE
#endif
