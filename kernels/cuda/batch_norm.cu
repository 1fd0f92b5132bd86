// Batch normalisation. Forward: one pass for the statistics, one to normalise (x twice in, y once
// out). Backward: one pass for the two sums, one for dx (x and dy twice in, dx once out).
// Inference: one pass. The ReLU is fused into all of them; its mask is computed again from x.
//
// The image is taken in tiles of channels: a thread has one pack of channels of many pixels. What a
// block has summed goes to the workspace, and a small kernel joins it (chunks.h).
#include "engine/op/batch_norm.h"
#include "kernels/cuda/moments.h"

namespace unetd::UNETD_GPU {
namespace {

template <class P>
Tiles tiles(const P& p) {
  return tiles_of(p.shape.pixels(), p.shape.c, pack_size(p.dtype, p.shape.c));
}

// Some channels: (x - mean) * scale + beta rather than x * scale + shift, since where the variance
// is small, scale and shift are large and cancel. Both directions compute it here, so that they
// agree on what the ReLU cuts.
template <int N>
struct Affine {
  Floats<N> mean, scale, beta;
  SIMT_DEVICE float operator()(float x, int k) const {
    return (x - mean.v[k]) * scale.v[k] + beta.v[k];
  }
};
template <int N>
SIMT_DEVICE Affine<N> load_affine(const float* mean, const float* gamma, const float* rstd,
                                  const float* beta, int64_t channel) {
  Affine<N> a{load_parameter<N>(mean + channel), load_parameter<N>(gamma + channel),
              load_parameter<N>(beta + channel)};
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) a.scale.v[k] *= rstd[channel + k];
  return a;
}

// y = relu(affine(x)) for the pixels of a thread.
template <class T, int N>
SIMT_DEVICE void normalise(const Affine<N>& affine, const Strip& s, const Tiles& t, bool relu,
                           const T* __restrict__ x, T* __restrict__ y) {
  for (int64_t i = s.first; i < s.end; i += t.high) {
    const int64_t at = i * t.channels + s.channel;
    Floats<N> v = load_floats<N>(x + at);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      v.v[k] = affine(v.v[k], k);
      if (relu && v.v[k] < 0) v.v[k] = 0;
    }
    store_floats(y + at, v);
  }
}

// --- training ------------------------------------------------------------------------------------

struct Parameters {
  const float *mean, *gamma, *rstd, *beta;
};
template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    normalise_kernel(T* __restrict__ y, const T* __restrict__ x, Parameters p, bool relu, Tiles t) {
  const Strip s = strip_in<N>(t);
  if (!s.inside) return;
  normalise(load_affine<N>(p.mean, p.gamma, p.rstd, p.beta, s.channel), s, t, relu, x, y);
}

struct Forward final : Kernel<BatchNorm> {
  explicit Forward(const BatchNorm& p) : p_(p), t_(tiles(p)) {}
  size_t workspace() const override { return moments_floats(chunks_of(t_)) * sizeof(float); }
  void run(const BatchNorm::Buffers& b, void* workspace, Stream& stream) const override {
    auto* const partial = static_cast<float*>(workspace);
    const Statistics statistics = statistics_in(b);
    const Parameters parameters{statistics.mean, static_cast<const float*>(b.gamma),
                                statistics.rstd, static_cast<const float*>(b.beta)};
    image_moments(partial, b.x, p_.dtype, t_, stream);
    join_moments(statistics, partial, chunks_of(t_), {p_.eps, p_.momentum}, stream);
    with_pack(p_.dtype, p_.shape.c, [&]<class T, int N>(Pack<T, N>) {
      simt::launch(normalise_kernel<T, N>, t_.grid(), t_.block(), 0, stream, static_cast<T*>(b.y),
                   static_cast<const T*>(b.x), parameters, p_.relu, t_);
    });
  }

 private:
  BatchNorm p_;
  Tiles t_;
};

// --- gradient ------------------------------------------------------------------------------------

// Of dy, and of dy * (x - mean).
template <int N>
struct Sums {
  float plain[N], weighted[N];
};
struct AddSums {
  template <int N>
  SIMT_DEVICE Sums<N> operator()(Sums<N> a, const Sums<N>& b) const {
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      a.plain[k] += b.plain[k];
      a.weighted[k] += b.weighted[k];
    }
    return a;
  }
};

// dy where the fused ReLU let the value pass.
template <int N>
SIMT_DEVICE float masked(const Affine<N>& affine, bool relu, float x, float dy, int k) {
  return relu && affine(x, k) <= 0 ? 0.F : dy;
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    sums_kernel(float* __restrict__ partial, const T* __restrict__ x, const T* __restrict__ dy,
                Parameters p, bool relu, Tiles t) {
  const Strip s = strip_in<N>(t);
  Sums<N> sums{};
  if (s.inside) {
    const auto affine = load_affine<N>(p.mean, p.gamma, p.rstd, p.beta, s.channel);
    for (int64_t i = s.first; i < s.end; i += t.high) {
      const int64_t at = i * t.channels + s.channel;
      const Floats<N> v = load_floats<N>(x + at), d = load_floats<N>(dy + at);
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) {
        const float g = masked(affine, relu, v.v[k], d.v[k], k);
        sums.plain[k] += g;
        sums.weighted[k] += g * (v.v[k] - affine.mean.v[k]);
      }
    }
  }
  sums = join_columns(sums, AddSums{});
  store_partial(partial, t, s, sums.plain, sums.weighted);
}

// dx = scale * (dy - dbeta/n - xhat * dgamma/n) = scale * dy + slope * (x - mean) + constant
struct Coefficients {
  float *slope, *constant;
};
struct ParameterGradients {
  float *dgamma, *dbeta;
};
__global__ void __launch_bounds__(block_threads)
    coefficients_kernel(ParameterGradients out, Coefficients coefficients,
                        const float* __restrict__ partial, Parameters p, Tiles t) {
  const int64_t c = join_channel();
  const bool inside = c < t.channels;
  const double dbeta = sum_chunks(
      0, t.chunks, inside, [&](unsigned i) { return double{partial[i * 2 * t.channels + c]}; });
  const double weighted = sum_chunks(0, t.chunks, inside, [&](unsigned i) {
    return double{partial[(i * 2 + 1) * t.channels + c]};
  });
  if (threadIdx.y != 0 || !inside) return;
  const double rstd = p.rstd[c], dgamma = weighted * rstd;
  const double share = double{p.gamma[c]} * rstd / static_cast<double>(t.pixels);
  out.dgamma[c] = static_cast<float>(dgamma);
  out.dbeta[c] = static_cast<float>(dbeta);
  coefficients.slope[c] = static_cast<float>(-share * rstd * dgamma);
  coefficients.constant[c] = static_cast<float>(-share * dbeta);
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    gradient_kernel(T* __restrict__ dx, const T* __restrict__ x, const T* __restrict__ dy,
                    Parameters p, Coefficients coefficients, bool relu, Tiles t) {
  const Strip s = strip_in<N>(t);
  if (!s.inside) return;
  const auto affine = load_affine<N>(p.mean, p.gamma, p.rstd, p.beta, s.channel);
  const auto slope = load_parameter<N>(coefficients.slope + s.channel);
  const auto constant = load_parameter<N>(coefficients.constant + s.channel);
  for (int64_t i = s.first; i < s.end; i += t.high) {
    const int64_t at = i * t.channels + s.channel;
    const Floats<N> v = load_floats<N>(x + at), d = load_floats<N>(dy + at);
    Floats<N> out;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const float g = masked(affine, relu, v.v[k], d.v[k], k);
      out.v[k] = affine.scale.v[k] * g + (slope.v[k] * (v.v[k] - affine.mean.v[k]) + constant.v[k]);
    }
    store_floats(dx + at, out);
  }
}

struct Backward final : Kernel<BatchNormGrad> {
  explicit Backward(const BatchNormGrad& p) : p_(p), t_(tiles(p)) {}
  // Sums of the chunks, then two coefficients of the channels.
  size_t workspace() const override {
    return (chunks_of(t_).floats() + 2 * static_cast<size_t>(p_.shape.c)) * sizeof(float);
  }
  void run(const BatchNormGrad::Buffers& b, void* workspace, Stream& stream) const override {
    auto* const partial = static_cast<float*>(workspace);
    float* const slope = partial + chunks_of(t_).floats();
    const Coefficients coefficients{slope, slope + p_.shape.c};
    const Parameters parameters{
        static_cast<const float*>(b.mean), static_cast<const float*>(b.gamma),
        static_cast<const float*>(b.rstd), static_cast<const float*>(b.beta)};
    const ParameterGradients gradients{static_cast<float*>(b.dgamma), static_cast<float*>(b.dbeta)};
    with_pack(p_.dtype, p_.shape.c, [&]<class T, int N>(Pack<T, N>) {
      const T *const x = static_cast<const T*>(b.x), *const dy = static_cast<const T*>(b.dy);
      simt::launch(sums_kernel<T, N>, t_.grid(), t_.block(), 0, stream, partial, x, dy, parameters,
                   p_.relu, t_);
      simt::launch(coefficients_kernel, join_grid(t_.channels), join_block(), 0, stream, gradients,
                   coefficients, partial, parameters, t_);
      simt::launch(gradient_kernel<T, N>, t_.grid(), t_.block(), 0, stream, static_cast<T*>(b.dx),
                   x, dy, parameters, coefficients, p_.relu, t_);
    });
  }

 private:
  BatchNormGrad p_;
  Tiles t_;
};

// --- inference -----------------------------------------------------------------------------------

struct RunningParameters {
  const float *mean, *gamma, *var, *beta;
};
template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    inference_kernel(T* __restrict__ y, const T* __restrict__ x, RunningParameters p, float eps,
                     bool relu, Tiles t) {
  const Strip s = strip_in<N>(t);
  if (!s.inside) return;
  Affine<N> affine{load_parameter<N>(p.mean + s.channel), load_parameter<N>(p.gamma + s.channel),
                   load_parameter<N>(p.beta + s.channel)};
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) affine.scale.v[k] /= sqrtf(p.var[s.channel + k] + eps);
  normalise(affine, s, t, relu, x, y);
}

void inference(const BatchNormInference& p, const BatchNormInference::Buffers& b,
               const Stream& stream) {
  const RunningParameters parameters{
      static_cast<const float*>(b.mean), static_cast<const float*>(b.gamma),
      static_cast<const float*>(b.var), static_cast<const float*>(b.beta)};
  with_pack(p.dtype, p.shape.c, [&]<class T, int N>(Pack<T, N>) {
    const Tiles t = tiles(p);
    simt::launch(inference_kernel<T, N>, t.grid(), t.block(), 0, stream, static_cast<T*>(b.y),
                 static_cast<const T*>(b.x), parameters, p.eps, p.relu, t);
  });
}

}  // namespace

void register_batch_norm() {
  add<Forward, BatchNorm>(only_storage_types);
  add<Backward, BatchNormGrad>(only_storage_types);
  add<inference, BatchNormInference>(only_storage_types);
}

}  // namespace unetd::UNETD_GPU
