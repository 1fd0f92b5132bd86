// Batch normalisation. Forward: one pass for the statistics, one to normalise (x twice in, y once
// out). Backward: one pass for the two sums, one for dx (x and dy twice in, dx once out).
// Inference: one pass. The ReLU is fused into all of them; its mask is computed again from x.
#include "engine/op/batch_norm.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/moments.h"

namespace unetd::UNETD_GPU {
namespace {

template <class P>
Tiles tiles(const P& p) {
  return tiles_of(p.shape.pixels(), p.shape.c, pack_size(p.dtype, p.shape.c));
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

struct StatsKernel final : Kernel<BatchNormStats> {
  explicit StatsKernel(const BatchNormStats& p) : p_(p), t_(tiles(p)) {}
  size_t workspace() const override { return moments_floats(chunks_of(t_)) * sizeof(float); }
  void run(const BatchNormStats::Buffers& b, void* workspace, Stream& stream) const override {
    auto* const partial = static_cast<float*>(workspace);
    image_moments(partial, b.x, p_.dtype, t_, stream);
    join_moments(statistics_in(b), partial, chunks_of(t_), {p_.eps, p_.momentum}, stream);
  }

 private:
  BatchNormStats p_;
  Tiles t_;
};

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    normalise_kernel(T* __restrict__ y, const T* __restrict__ x, Parameters p, bool relu, Tiles t) {
  const Strip s = strip_in<N>(t);
  if (!s.inside) return;
  normalise(load_affine<N>(p, s.channel), s, t, relu, x, y);
}

void apply(const BatchNormApply& p, const BatchNormApply::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, p.shape.c, [&]<class T, int N>(Pack<T, N>) {
    const Tiles t = tiles(p);
    simt::launch(normalise_kernel<T, N>, t.grid(), t.block(), 0, stream, static_cast<T*>(b.y),
                 static_cast<const T*>(b.x), parameters_of(b), p.relu, t);
  });
}

// --- gradient ------------------------------------------------------------------------------------

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
    const auto affine = load_affine<N>(p, s.channel);
    for (int64_t i = s.first; i < s.end; i += t.high) {
      const int64_t at = i * t.channels + s.channel;
      const Floats<N> v = load_floats<N>(x + at), d = load_floats<N>(dy + at);
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) {
        sums.add(affine, v.v[k], masked(affine, relu, v.v[k], d.v[k], k), k);
      }
    }
  }
  sums = join_columns(sums, AddSums{});
  store_partial(partial, t, s, sums.plain, sums.weighted);
}

__global__ void __launch_bounds__(block_threads)
    coefficients_kernel(GradientVectors v, int64_t pixels, Chunks chunks) {
  const int64_t c = join_channel();
  const bool inside = c < chunks.channels;
  const double dbeta = sum_chunks(0, chunks.chunks, inside, [&](unsigned i) {
    return double{v.partial[i * 2 * chunks.channels + c]};
  });
  const double weighted = sum_chunks(0, chunks.chunks, inside, [&](unsigned i) {
    return double{v.partial[(i * 2 + 1) * chunks.channels + c]};
  });
  if (threadIdx.y != 0 || !inside) return;
  const double dgamma = weighted * v.parameters.rstd[c];
  v.dgamma[c] = static_cast<float>(dgamma);
  v.dbeta[c] = static_cast<float>(dbeta);
  store_coefficients(v, c, dgamma, dbeta, pixels);
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    gradient_kernel(T* __restrict__ dx, const T* __restrict__ x, const T* __restrict__ dy,
                    Parameters p, Coefficients coefficients, bool relu, Tiles t) {
  const Strip s = strip_in<N>(t);
  if (!s.inside) return;
  const auto affine = load_affine<N>(p, s.channel);
  const auto slope = load_slope<N>(coefficients, s.channel);
  for (int64_t i = s.first; i < s.end; i += t.high) {
    const int64_t at = i * t.channels + s.channel;
    const Floats<N> v = load_floats<N>(x + at), d = load_floats<N>(dy + at);
    Floats<N> out;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      out.v[k] = slope(affine, v.v[k], masked(affine, relu, v.v[k], d.v[k], k), k);
    }
    store_floats(dx + at, out);
  }
}

struct GradKernel final : Kernel<BatchNormGrad> {
  explicit GradKernel(const BatchNormGrad& p) : p_(p), t_(tiles(p)) {}
  size_t workspace() const override { return gradient_workspace(chunks_of(t_)); }
  void run(const BatchNormGrad::Buffers& b, void* workspace, Stream& stream) const override {
    const GradientVectors v = gradient_vectors(b, workspace, chunks_of(t_));
    const GradientImages images{b.x, b.dy, p_.dtype, p_.relu};
    sum_gradient(v, images, t_, stream);
    join_gradient(v, t_.pixels, chunks_of(t_), stream);
    write_gradient(b.dx, v, images, t_, stream);
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

void join_gradient(const GradientVectors& v, int64_t pixels, const Chunks& chunks,
                   const Stream& stream) {
  simt::launch(coefficients_kernel, join_grid(chunks.channels), join_block(), 0, stream, v, pixels,
               chunks);
}

void sum_gradient(const GradientVectors& v, const GradientImages& images, const Tiles& t,
                  const Stream& stream) {
  with_pack(images.dtype, t.channels, [&]<class T, int N>(Pack<T, N>) {
    simt::launch(sums_kernel<T, N>, t.grid(), t.block(), 0, stream, v.partial,
                 static_cast<const T*>(images.x), static_cast<const T*>(images.dy), v.parameters,
                 images.relu, t);
  });
}

void write_gradient(void* dx, const GradientVectors& v, const GradientImages& images,
                    const Tiles& t, const Stream& stream) {
  with_pack(images.dtype, t.channels, [&]<class T, int N>(Pack<T, N>) {
    simt::launch(gradient_kernel<T, N>, t.grid(), t.block(), 0, stream, static_cast<T*>(dx),
                 static_cast<const T*>(images.x), static_cast<const T*>(images.dy), v.parameters,
                 v.coefficients, images.relu, t);
  });
}

void register_batch_norm() {
  add<StatsKernel, BatchNormStats>(only_storage_types);
  add<apply, BatchNormApply>(only_storage_types);
  add<GradKernel, BatchNormGrad>(only_storage_types);
  add<inference, BatchNormInference>(only_storage_types);
}

}  // namespace unetd::UNETD_GPU
