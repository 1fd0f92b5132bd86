// Data-parallel loops on the CPU. They run on OpenMP's pool, the one oneDNN uses too: a second pool
// would fight it for the cores. A build without OpenMP runs them serially.
#pragma once

#include <algorithm>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace unetd {

// Threads of the parallel loops; the default is the number of cores this process may use.
inline int thread_count() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

inline void set_thread_count([[maybe_unused]] int n) {
#ifdef _OPENMP
  omp_set_num_threads(n);
#endif
}

// body(i) for i in [0, n). Iterations are independent and dealt out in contiguous runs.
template <class F>
void parallel_for(int64_t n, F&& body) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (n > 1)
#endif
  for (int64_t i = 0; i < n; ++i) body(i);
}

// body(begin, end) over [0, n) in chunks of `grain`. The cut depends on n and grain alone, so sums
// taken per chunk and added in chunk order have the same bits for any number of threads.
template <class F>
void parallel_chunks(int64_t n, int64_t grain, F&& body) {
  parallel_for((n + grain - 1) / grain,
               [&](int64_t chunk) { body(chunk * grain, std::min(n, (chunk + 1) * grain)); });
}

}  // namespace unetd
