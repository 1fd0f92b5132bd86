// Element-wise kernels on buffers without structure: y[i] = f(x[i], ...).
#pragma once

#include "kernels/cuda/pack.h"

namespace unetd::UNETD_GPU {

template <int N, class F, class... X>
SIMT_DEVICE Floats<N> apply(F f, const X&... x) {
  Floats<N> y;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) y.v[k] = f(x.v[k]...);
  return y;
}

// A thread has N consecutive elements, the last one perhaps fewer. No pointer is __restrict__: an
// output may be an input.
template <int N, class F, class Y, class... X>
__global__ void __launch_bounds__(block_threads)
    map_kernel(F f, int64_t count, Y* y, const X*... x) {
  const int64_t first = (int64_t{blockIdx.x} * block_threads + threadIdx.x) * N;
  if (first + N > count) {
    for (int64_t i = first; i < count; ++i) y[i] = from_float<Y>(f(to_float(x[i])...));
    return;
  }
  store_floats(y + first, apply<N>(f, load_floats<N>(x + first)...));
}

// N: 16 bytes of the widest type, or one element where a pointer is not aligned to that.
template <class F, class Y, class... X>
void map(const Stream& stream, F f, int64_t count, Y* y, const X*... x) {
  constexpr int pack = static_cast<int>(16 / std::max({sizeof(Y), sizeof(X)...}));
  const auto launch = [&]<int N>(Pack<float, N>) {
    const unsigned blocks = simt::blocks_for((count + N - 1) / N, block_threads);
    simt::launch(map_kernel<N, F, Y, X...>, Dim{blocks}, Dim{block_threads}, 0, stream, f, count, y,
                 x...);
  };
  if (aligned16({y, x...})) return launch(Pack<float, pack>{});
  launch(Pack<float, 1>{});
}

}  // namespace unetd::UNETD_GPU
