// Sums of errors and the losses of regression. An image has one channel: a thread takes 16 bytes of
// values and of targets at a time where images begin at multiples of that, else one of each. Blocks
// sum parts of an image, a second kernel joins an image's parts. A loss is one pass, in which every
// block first joins the images' sums for itself: they are few.
#include "engine/op/regression.h"
#include "kernels/common/regression_rules.h"
#include "kernels/cuda/reduce.h"

namespace unetd::UNETD_GPU {
namespace {

// blockIdx.x counts the parts of an image, blockIdx.y strides over the images.
struct Parts {
  int64_t pixels;  // of an image
  unsigned images, parts;

  Dim grid() const { return {parts, std::min(images, max_grid_y)}; }
};
// At most as many as fill the GPU together.
template <int N>
Parts parts_of(const Shape& s) {
  const int64_t pixels = s.h * s.w, most = std::max<int64_t>(full_grid / s.n, 1);
  const int64_t wanted = simt::blocks_for((pixels + N - 1) / N, block_threads);
  UNETD_CHECK(s.n < int64_t{1} << 31, s.n, " images in a CUDA kernel");
  return {pixels, static_cast<unsigned>(s.n), static_cast<unsigned>(std::min(wanted, most))};
}
// Calls f(Pack<float, N>{}): N pixels are a pack.
template <class F>
void with_pixel_pack(const Shape& s, F&& f) {
  if (pack_size(DType::f32, s.h * s.w) == 1) return f(Pack<float, 1>{});
  f(Pack<float>{});
}

// visit(pixel) for the packs of this thread in image n; a pixel's place is among those of all.
template <int N, class F>
SIMT_DEVICE void for_each_pack_of(const Parts& g, unsigned n, const F& visit) {
  const int64_t step = int64_t{gridDim.x} * block_threads * N;
  for (int64_t i = (int64_t{blockIdx.x} * block_threads + threadIdx.x) * N; i < g.pixels;
       i += step) {
    visit(n * g.pixels + i);
  }
}

// Over all threads of a block; each of them has the result.
SIMT_DEVICE ImageErrors block_sum_of(const ImageErrors& e) {
  return {block_sum(e.pixels),  block_sum(e.error),  block_sum(e.absolute),
          block_sum(e.squared), block_sum(e.target), block_sum(e.target_squared)};
}

template <int N>
__global__ void __launch_bounds__(block_threads)
    part_sums_kernel(ImageErrors* __restrict__ sums, const float* __restrict__ values,
                     const float* __restrict__ targets, Parts g) {
  for (unsigned n = blockIdx.y; n < g.images; n += gridDim.y) {
    ImageErrors sum;
    for_each_pack_of<N>(g, n, [&](int64_t i) {
      const Floats<N> v = load_floats<N>(values + i), t = load_floats<N>(targets + i);
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) sum = sum + errors_of(v.v[k], t.v[k]);
    });
    sum = block_sum_of(sum);
    if (threadIdx.x == 0) sums[int64_t{n} * gridDim.x + blockIdx.x] = sum;
  }
}

__global__ void __launch_bounds__(block_threads)
    join_parts_kernel(ImageErrors* __restrict__ sums, const ImageErrors* __restrict__ of_parts,
                      Parts g) {
  for (unsigned n = blockIdx.x; n < g.images; n += gridDim.x) {
    ImageErrors sum;
    for (unsigned i = threadIdx.x; i < g.parts; i += block_threads) {
      sum = sum + of_parts[int64_t{n} * g.parts + i];
    }
    sum = block_sum_of(sum);
    if (threadIdx.x == 0) sums[n] = sum;
  }
}

struct ErrorSumsKernel final : Kernel<ErrorSums> {
  explicit ErrorSumsKernel(const ErrorSums& p) : p_(p) {}
  size_t workspace() const override {
    return static_cast<size_t>(std::max(p_.values.n, full_grid)) * sizeof(ImageErrors);
  }
  void run(const ErrorSums::Buffers& b, void* workspace, Stream& stream) const override {
    auto* const of_parts = static_cast<ImageErrors*>(workspace);
    with_pixel_pack(p_.values, [&]<int N>(Pack<float, N>) {
      const Parts g = parts_of<N>(p_.values);
      simt::launch(part_sums_kernel<N>, g.grid(), Dim{block_threads}, 0, stream, of_parts,
                   static_cast<const float*>(b.values), b.targets, g);
      const unsigned blocks = std::min(g.images, static_cast<unsigned>(full_grid));
      simt::launch(join_parts_kernel, Dim{blocks}, Dim{block_threads}, 0, stream, b.sums, of_parts,
                   g);
    });
  }

 private:
  ErrorSums p_;
};

struct LossBuffers {
  const float *values, *targets;
  const ImageErrors* sums;
  float *loss, *dvalues;
};
// Of a multiprocessor. Said aloud, since ptxas prefers more of them and spills registers for it.
constexpr unsigned resident_blocks = 6;

template <class Rule, int N>
__global__ void __launch_bounds__(block_threads, resident_blocks)
    loss_kernel(LossBuffers b, float factor, Parts g) {
  LossShare all{};
  for (unsigned n = threadIdx.x; n < g.images; n += block_threads) {
    const LossShare share = Rule::share_of(b.sums[n]);
    all.loss += share.loss;
    all.divisor += share.divisor;
  }
  all = {block_sum(all.loss), block_sum(all.divisor)};
  const double scale = all.divisor > 0 ? factor / all.divisor : 0.0;
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) {
    *b.loss = static_cast<float>(scale * all.loss);
  }
  for (unsigned n = blockIdx.y; n < g.images; n += gridDim.y) {
    const float slope = Rule::slope_of(b.sums[n], scale);
    for_each_pack_of<N>(g, n, [&](int64_t i) {
      const Floats<N> t = load_floats<N>(b.targets + i);
      Floats<N> v = load_floats<N>(b.values + i);
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) v.v[k] = Rule::gradient(v.v[k], t.v[k], slope);
      store_floats(b.dvalues + i, v);
    });
  }
}

template <RegressionLoss::Norm norm>
void evaluate(const RegressionLoss& p, const RegressionLoss::Buffers& b, const Stream& stream) {
  const LossBuffers buffers{static_cast<const float*>(b.values), b.targets, b.sums,
                            static_cast<float*>(b.loss), static_cast<float*>(b.dvalues)};
  with_pixel_pack(p.values, [&]<int N>(Pack<float, N>) {
    const Parts g = parts_of<N>(p.values);
    simt::launch(loss_kernel<RegressionRule<norm>, N>, g.grid(), Dim{block_threads}, 0, stream,
                 buffers, p.factor, g);
  });
}
void regression_loss(const RegressionLoss& p, const RegressionLoss::Buffers& b,
                     const Stream& stream) {
  using Norm = RegressionLoss::Norm;
  switch (p.norm) {
    case Norm::squared:
      return evaluate<Norm::squared>(p, b, stream);
    case Norm::absolute:
      return evaluate<Norm::absolute>(p, b, stream);
    case Norm::mass:
      return evaluate<Norm::mass>(p, b, stream);
  }
}

}  // namespace

void register_regression() {
  add<ErrorSumsKernel, ErrorSums>(only_f32);
  add<regression_loss, RegressionLoss>(only_f32);
}

}  // namespace unetd::UNETD_GPU
