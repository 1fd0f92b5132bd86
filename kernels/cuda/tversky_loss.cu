// The Tversky loss with its gradient. The logits are read twice, their gradient is written once:
// one kernel sums the soft counts of the classes, each block its pixels', a small one joins the
// blocks and finds the loss and its slopes by the probabilities, the last one carries these through
// the activation. A few neighbouring threads have a pixel, as in softmax; what they read again
// comes from the cache.
#include "engine/op/loss.h"
#include "kernels/cuda/reduce.h"

#include <cmath>

namespace unetd::UNETD_GPU {
namespace {

// Soft counts of N classes. Those of a block's pixels are summed in float, the blocks in double.
template <int N>
struct Overlaps {
  float tp[N], fp[N], fn[N];
  SIMT_DEVICE Overlaps operator+(const Overlaps& o) const {
    Overlaps sum;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      sum.tp[k] = tp[k] + o.tp[k];
      sum.fp[k] = fp[k] + o.fp[k];
      sum.fn[k] = fn[k] + o.fn[k];
    }
    return sum;
  }
};
// Derivatives of the loss by the probability of a class: where that is the target, and where it is
// not.
struct Slopes {
  float hit, miss;
};

template <class T>
struct LossBuffers {
  const T* logits;
  const uint8_t* labels;
  const float* weights;  // or null
  float* loss;
  T* dlogits;
};

// --- activations ---------------------------------------------------------------------------------

// Probability and complement, neither of them a difference. All lanes of a pixel set one up.
struct SoftmaxPixel {
  float top = -INFINITY, scale = 0, others = 0;

  // The label's class is summed apart from the others.
  template <int N, class T>
  SIMT_DEVICE void set_up(const Pixels& g, const T* z, int64_t target) {
    for_each_pack<N>(g, [&](int64_t c) {
      const Floats<N> v = load_floats<N>(z + c);
      for (int k = 0; k < N; ++k) top = Larger{}(top, v.v[k]);
    });
    top = join_lanes(top, g.lanes, Larger{});
    for_each_pack<N>(g, [&](int64_t c) {
      const Floats<N> v = load_floats<N>(z + c);
      for (int k = 0; k < N; ++k) others += c + k == target ? 0.F : expf(v.v[k] - top);
    });
    others = join_lanes(others, g.lanes, Plus{});
    scale = 1 / (others + (target < g.channels ? expf(to_float(z[target]) - top) : 0.F));
  }
  SIMT_DEVICE float probability(float z) const { return expf(z - top) * scale; }
  SIMT_DEVICE float complement(float) const { return others * scale; }  // of the target

  // p * (slope - sum of p * slope), in slopes less that of the most probable class: its p, which
  // may be nearly 1, then takes no part in the sum.
  template <int N, class T, class Slope>
  SIMT_DEVICE void differentiate(const Pixels& g, const T* z, T* dz, bool valid,
                                 const Slope& slope) const {
    float base = -INFINITY, mean = 0;
    for_each_pack<N>(g, [&](int64_t c) {
      const Floats<N> v = load_floats<N>(z + c);
      for (int k = 0; k < N; ++k) base = v.v[k] == top ? Larger{}(base, slope(c + k)) : base;
    });
    base = join_lanes(base, g.lanes, Larger{});
    for_each_pack<N>(g, [&](int64_t c) {
      const Floats<N> v = load_floats<N>(z + c);
      for (int k = 0; k < N; ++k) mean += probability(v.v[k]) * (slope(c + k) - base);
    });
    mean = join_lanes(mean, g.lanes, Plus{});
    for_each_pack<N>(g, [&](int64_t c) {
      Floats<N> v = load_floats<N>(z + c);
      for (int k = 0; k < N; ++k) {
        v.v[k] = valid ? probability(v.v[k]) * (slope(c + k) - base - mean) : 0.F;
      }
      if (dz != nullptr) store_floats(dz + c, v);
    });
  }
};

struct SigmoidPixel {
  template <int N, class T>
  SIMT_DEVICE void set_up(const Pixels&, const T*, int64_t) {}
  SIMT_DEVICE float probability(float z) const {
    const float e = expf(-fabsf(z));
    return (z < 0 ? e : 1.F) / (1 + e);
  }
  SIMT_DEVICE float complement(float z) const { return probability(-z); }

  template <int N, class T, class Slope>
  SIMT_DEVICE void differentiate(const Pixels& g, const T* z, T* dz, bool valid,
                                 const Slope& slope) const {
    for_each_pack<N>(g, [&](int64_t c) {
      Floats<N> v = load_floats<N>(z + c);
      for (int k = 0; k < N; ++k) {
        const float e = expf(-fabsf(v.v[k]));  // p * (1 - p) = e / (1 + e)^2
        v.v[k] = valid ? e / ((1 + e) * (1 + e)) * slope(c + k) : 0.F;
      }
      if (dz != nullptr) store_floats(dz + c, v);
    });
  }
};

// --- kernels -------------------------------------------------------------------------------------

// blockIdx.y counts the groups of packs of channels: a thread sums one pack, of many pixels. The
// sums of a class, one a block, lie side by side.
template <class T, int N, class Pixel>
__global__ void __launch_bounds__(block_threads)
    overlap_kernel(Overlaps<1>* __restrict__ sums, LossBuffers<T> b, int first_label, Pixels g) {
  const int64_t channel = (int64_t{blockIdx.y} * g.lanes + threadIdx.x) * N;
  const bool inside = channel < g.channels;
  Overlaps<N> sum{};
  for_each_pixel(g, [&](int64_t i, bool own) {
    const T* const z = b.logits + i * g.channels;
    const int64_t target = int64_t{b.labels[i]} - first_label;
    Pixel pixel;
    pixel.template set_up<N>(g, z, target);
    if (!inside || !own || target >= g.channels) return;
    const Floats<N> v = load_floats<N>(z + channel);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const bool hit = channel + k == target;
      const float p = pixel.probability(v.v[k]);
      sum.tp[k] += hit ? p : 0.F;
      sum.fp[k] += hit ? 0.F : p;
      sum.fn[k] += hit ? pixel.complement(v.v[k]) : 0.F;
    }
  });
  sum = join_columns(sum, Plus{});
  if (!inside || threadIdx.y != 0) return;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) {
    sums[(channel + k) * gridDim.x + blockIdx.x] = {{sum.tp[k]}, {sum.fp[k]}, {sum.fn[k]}};
  }
}

// One block; a warp takes one class after another.
constexpr Dim slopes_block() { return {simt::warp_size, block_threads / simt::warp_size}; }
__global__ void __launch_bounds__(block_threads)
    slopes_kernel(float* __restrict__ loss, Slopes* __restrict__ slopes,
                  const Overlaps<1>* __restrict__ sums, unsigned blocks,
                  const float* __restrict__ weights, TverskyLoss p) {
  double total = 0, lost = 0;
  for (int64_t c = threadIdx.y; c < p.logits.c; c += blockDim.y) {
    double tp = 0, fp = 0, fn = 0;
    for (unsigned i = threadIdx.x; i < blocks; i += simt::warp_size) {
      const Overlaps<1> part = sums[c * blocks + i];
      tp += part.tp[0], fp += part.fp[0], fn += part.fn[0];
    }
    tp = join_lanes(tp, simt::warp_size, Plus{});
    fp = join_lanes(fp, simt::warp_size, Plus{});
    fn = join_lanes(fn, simt::warp_size, Plus{});
    if (threadIdx.x != 0) continue;
    const bool present = tp + fn != 0;
    const double weight = !present ? 0.0 : weights == nullptr ? 1.0 : double{weights[c]};
    const double wrong = p.alpha * fp + p.beta * fn;
    const double whole = present ? tp + wrong + p.smooth : 1.0;
    const double scale = weight / (whole * whole);
    total += weight;
    lost += weight * wrong / whole;
    slopes[c] = {static_cast<float>(-scale * (p.alpha * fp + p.beta * (tp + fn + p.smooth))),
                 static_cast<float>(scale * p.alpha * (tp + p.smooth))};
  }
  total = block_sum(total);
  lost = block_sum(lost);
  const double scale = total > 0 ? p.factor / total : 0.0;
  const unsigned self = threadIdx.y * blockDim.x + threadIdx.x;
  if (self == 0) *loss = static_cast<float>(scale * lost);
  // All slopes are there: the sums have waited for them.
  for (int64_t c = self; c < p.logits.c; c += block_threads) {
    slopes[c] = {slopes[c].hit * static_cast<float>(scale),
                 slopes[c].miss * static_cast<float>(scale)};
  }
}

// Of a multiprocessor. Said aloud, since ptxas prefers more of them and spills registers for it.
constexpr unsigned resident_blocks = 5;

template <class T, int N, class Pixel>
__global__ void __launch_bounds__(block_threads, resident_blocks)
    gradient_kernel(LossBuffers<T> b, const Slopes* __restrict__ slopes, int first_label,
                    Pixels g) {
  for_each_pixel(g, [&](int64_t i, bool own) {
    const T* const z = b.logits + i * g.channels;
    const int64_t target = int64_t{b.labels[i]} - first_label;
    Pixel pixel;
    pixel.template set_up<N>(g, z, target);
    pixel.template differentiate<N>(
        g, z, own ? b.dlogits + i * g.channels : nullptr, target < g.channels,
        [&](int64_t c) { return c == target ? slopes[c].hit : slopes[c].miss; });
  });
}

struct TverskyKernel final : Kernel<TverskyLoss> {
  explicit TverskyKernel(const TverskyLoss& p) : p_(p) {}
  size_t workspace() const override {
    return static_cast<size_t>(p_.logits.c) * (full_grid * sizeof(Overlaps<1>) + sizeof(Slopes));
  }
  void run(const TverskyLoss::Buffers& b, void* workspace, Stream& stream) const override {
    with_pack(p_.dtype, p_.logits.c, [&]<class T, int N>(Pack<T, N>) {
      const LossBuffers<T> buffers{static_cast<const T*>(b.logits), b.labels,
                                   static_cast<const float*>(b.weights),
                                   static_cast<float*>(b.loss), static_cast<T*>(b.dlogits)};
      if (p_.activation == Activation::softmax) {
        return launch<N, SoftmaxPixel>(buffers, workspace, stream);
      }
      launch<N, SigmoidPixel>(buffers, workspace, stream);
    });
  }

 private:
  template <int N, class Pixel, class T>
  void launch(const LossBuffers<T>& b, void* workspace, const Stream& stream) const {
    const Pixels g = pixels_of<N>(p_.logits);
    auto* const sums = static_cast<Overlaps<1>*>(workspace);
    auto* const slopes = reinterpret_cast<Slopes*>(sums + p_.logits.c * full_grid);
    const unsigned groups = simt::blocks_for(g.channels, int64_t{g.lanes} * N);
    const int first_label = static_cast<int>(p_.first_label());
    simt::launch(overlap_kernel<T, N, Pixel>, Dim{g.blocks, groups}, g.block(), 0, stream, sums, b,
                 first_label, g);
    simt::launch(slopes_kernel, Dim{1}, slopes_block(), 0, stream, b.loss, slopes, sums, g.blocks,
                 b.weights, p_);
    simt::launch(gradient_kernel<T, N, Pixel>, g.grid(), g.block(), 0, stream, b, slopes,
                 first_label, g);
  }

  TverskyLoss p_;
};

}  // namespace

void register_tversky_loss() { add<TverskyKernel, TverskyLoss>(only_storage_types); }

}  // namespace unetd::UNETD_GPU
