// The optimisers on flat buffers. The norm reads every element once, AdamW reads 4 arrays and
// writes 3 in one pass, the moving average reads 2 and writes 1. A thread has 16 bytes of each
// array, or one element where an array begins between two such.
#include "engine/op/optimizer.h"
#include "kernels/common/update_rules.h"
#include "kernels/cuda/flat.h"
#include "kernels/cuda/reduce.h"

#include <cmath>

namespace unetd::UNETD_GPU {
namespace {

// --- norm ----------------------------------------------------------------------------------------

template <int N>
__global__ void __launch_bounds__(block_threads)
    squares_kernel(double* __restrict__ sums, const float* __restrict__ x, int64_t count) {
  const int64_t first = (int64_t{blockIdx.x} * block_threads + threadIdx.x) * N;
  const int64_t step = int64_t{gridDim.x} * block_threads * N;
  double sum[N] = {};  // independent chains
  int64_t i = first;
  for (; i + N <= count; i += step) {
    const Floats<N> v = load_floats<N>(x + i);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) sum[k] += double{v.v[k]} * double{v.v[k]};
  }
  for (; i < count; ++i) sum[0] += double{x[i]} * double{x[i]};  // an incomplete pack
  for (int k = 1; k < N; ++k) sum[0] += sum[k];
  const double total = block_sum(sum[0]);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

__global__ void __launch_bounds__(block_threads)
    root_kernel(float* __restrict__ norm, const double* __restrict__ sums, unsigned count) {
  double sum = 0;
  for (unsigned i = threadIdx.x; i < count; i += block_threads) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(sum));
}

struct Norm final : Kernel<GlobalNorm> {
  explicit Norm(const GlobalNorm& p) : p_(p) {}
  size_t workspace() const override { return full_grid * sizeof(double); }
  void run(const GlobalNorm::Buffers& b, void* workspace, Stream& stream) const override {
    auto* const sums = static_cast<double*>(workspace);
    const auto launch = [&]<int N>(Pack<float, N>) {
      constexpr int64_t least_steps = 4;
      const int64_t wanted = (p_.count + N * least_steps - 1) / (N * least_steps);
      const unsigned blocks =
          std::min(simt::blocks_for(wanted, block_threads), unsigned{full_grid});
      simt::launch(squares_kernel<N>, Dim{blocks}, Dim{block_threads}, 0, stream, sums,
                   static_cast<const float*>(b.x), p_.count);
      simt::launch(root_kernel, Dim{1}, Dim{block_threads}, 0, stream, static_cast<float*>(b.norm),
                   sums, blocks);
    };
    if (aligned16({b.x})) return launch(Pack<float>{});
    launch(Pack<float, 1>{});
  }

 private:
  GlobalNorm p_;
};

// --- loss scale ----------------------------------------------------------------------------------

struct Scaled {
  const LossScale* state;
  SIMT_DEVICE float operator()(float x) const { return x * state->scale; }
};
void scale_gradient(const ScaleGradient& p, const ScaleGradient::Buffers& b, const Stream& stream) {
  map(stream, Scaled{b.scale}, p.shape.count(), static_cast<float*>(b.y),
      static_cast<const float*>(b.x));
}

// One thread does it all.
__global__ void factor_kernel(GradientFactor p, const float* loss, float* factor, float* norm,
                              LossScale* state) {
  const float scale = p.scaled ? state->scale : 1.F;
  const float unscaled = *norm / scale;
  const bool good = unscaled - unscaled == 0 && *loss - *loss == 0;  // neither infinite nor NaN
  const float wanted = p.max_norm > 0 ? p.max_norm / (unscaled + 1e-6F) : 1.F;
  *factor = good ? (wanted < 1 ? wanted : 1.F) / scale : NAN;
  *norm = unscaled;
  if (!p.scaled) return;
  const float steps = good ? state->good_steps + 1 : 0.F;
  const bool grows = steps >= p.growth_interval;
  if (grows && scale < largest_loss_scale) state->scale = 2 * scale;
  if (!good && scale > smallest_loss_scale) state->scale = scale / 2;
  state->good_steps = grows ? 0.F : steps;
}
void gradient_factor(const GradientFactor& p, const GradientFactor::Buffers& b,
                     const Stream& stream) {
  simt::launch(factor_kernel, Dim{1}, Dim{1}, 0, stream, p, static_cast<const float*>(b.loss),
               static_cast<float*>(b.factor), static_cast<float*>(b.norm), b.scale);
}

// --- steps ---------------------------------------------------------------------------------------

struct UpdateArrays {
  const float* grad;
  float *param, *state[most_states];
};
template <int N, class Rule>
SIMT_DEVICE void step(const Rule& rule, float factor, const UpdateArrays& b, int64_t i) {
  const Floats<N> grad = load_floats<N>(b.grad + i);
  Floats<N> param = load_floats<N>(b.param + i), state[most_states];
  SIMT_UNROLL
  for (int s = 0; s < Rule::states; ++s) state[s] = load_floats<N>(b.state[s] + i);
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) {
    float unused = 0;
    const auto kept = [&](int s) -> float& { return s < Rule::states ? state[s].v[k] : unused; };
    rule(grad.v[k] * factor, param.v[k], kept(0), kept(1), kept(2));
  }
  store_floats(b.param + i, param);
  SIMT_UNROLL
  for (int s = 0; s < Rule::states; ++s) store_floats(b.state[s] + i, state[s]);
}

template <int N, class Rule, class P>
__global__ void __launch_bounds__(block_threads)
    update_kernel(P p, const OptimizerScalars* __restrict__ scalars,
                  const float* __restrict__ factor, UpdateArrays b) {
  const int64_t first = (int64_t{blockIdx.x} * block_threads + threadIdx.x) * N;
  if (*factor != *factor) return;
  const Rule rule(p, *scalars);
  if (first + N <= p.count) return step<N>(rule, *factor, b, first);
  for (int64_t i = first; i < p.count; ++i) step<1>(rule, *factor, b, i);
}

template <class P>
void update(const P& p, const UpdateBuffers& b, const Stream& stream) {
  UpdateArrays arrays{static_cast<const float*>(b.grad), static_cast<float*>(b.param), {}};
  for (int s = 0; s < most_states; ++s) arrays.state[s] = static_cast<float*>(b.state[s]);
  with_rule(p, [&]<class Rule>() {
    const auto launch = [&]<int N>(Pack<float, N>) {
      const unsigned blocks = simt::blocks_for((p.count + N - 1) / N, block_threads);
      simt::launch(update_kernel<N, Rule, P>, Dim{blocks}, Dim{block_threads}, 0, stream, p,
                   b.scalars, static_cast<const float*>(b.factor), arrays);
    };
    if (aligned16({b.grad, b.param, b.state[0], b.state[1], b.state[2]}))
      return launch(Pack<float>{});
    launch(Pack<float, 1>{});
  });
}

struct Average {
  const OptimizerScalars* scalars;
  SIMT_DEVICE float operator()(float average, float param) const {
    const float d = scalars->ema_decay;
    return (d == 0 ? 0 : d * average) + (1 - d) * param;
  }
};
void ema(const Ema& p, const Ema::Buffers& b, const Stream& stream) {
  auto* const average = static_cast<float*>(b.average);
  map(stream, Average{b.scalars}, p.count, average, static_cast<const float*>(average),
      static_cast<const float*>(b.param));
}

}  // namespace

void register_optimizer() {
  add<Norm, GlobalNorm>(only_f32);
  add<scale_gradient, ScaleGradient>(only_f32);
  add<gradient_factor, GradientFactor>(only_f32);
  add<update<AdamW>, AdamW>(only_f32);
  add<update<Sgd>, Sgd>(only_f32);
  add<update<RmsProp>, RmsProp>(only_f32);
  add<ema, Ema>(only_f32);
}

}  // namespace unetd::UNETD_GPU
