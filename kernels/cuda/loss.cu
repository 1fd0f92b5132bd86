// Segmentation losses with their gradients. The labels are read twice, the logits once, their
// gradient is written once: a first kernel sums the weights of the labels, on which every gradient
// depends, a second one does the work, a third one joins the blocks' sums. A few neighbouring
// threads have a pixel, as in softmax; what they read again comes from the cache.
#include "engine/op/loss.h"
#include "kernels/cuda/reduce.h"

#include <cmath>

namespace unetd::UNETD_GPU {
namespace {

// Sums of blocks, in double precision: as many as threads, so that a block can join them in one go.
constexpr int64_t weight_sums = block_threads;
// factor / sum of the weights, or 0 where no pixel is valid.
SIMT_DEVICE double scale_of(const double* weights, unsigned count, float factor) {
  const unsigned self = threadIdx.y * blockDim.x + threadIdx.x;
  const double total = block_sum(self < count ? weights[self] : 0.0);
  return total > 0 ? double{factor} / total : 0.0;
}

// Neither loss subtracts what is nearly equal: of a confident pixel, loss and gradient are far
// below the rounding of 1.

enum class Form : uint8_t { plain, focal, smoothed };
// The number that a form has beside the weights: gamma, or what smoothing gives each class.
template <class P>
float degree_of(const P& p, Form form) {
  if constexpr (requires { p.smoothing; }) {
    if (form == Form::smoothed) return p.smoothing / static_cast<float>(p.logits.c);
  }
  return p.gamma;
}

// What a focal loss multiplies -log(1 - q) and its gradient by.
struct Focus {
  float loss, gradient;
};
template <Form form>
SIMT_DEVICE Focus focus(float gamma, float q, float loss) {
  if constexpr (form != Form::focal) return {1, 1};
  const float power = powf(q, gamma);
  return {power, power * (1 + gamma * (q > 0 ? (1 - q) * loss / q : 1.F))};
}

// -log softmax(z)[label]; smoothed, that of every class has a share in it.
template <Form of>
struct CrossEntropyPixel {
  static constexpr Form form = of;
  const float* weights;  // or null
  int64_t channels;
  float degree;

  SIMT_DEVICE float weight(int64_t label) const {
    if (label >= channels) return 0;
    return weights == nullptr ? 1 : weights[label];
  }
  // What smoothing gives a class of every target, with its weight.
  SIMT_DEVICE float share(int64_t c) const {
    return weights == nullptr ? degree : degree * weights[c];
  }
  // This thread's part of the loss; `visit` goes over its packs of channels.
  template <class Visit>
  SIMT_DEVICE double evaluate(const float* z, float* dz, int64_t label, float scale, unsigned lanes,
                              const Visit& visit) const {
    const bool valid = label < channels;
    float top = -INFINITY, others = 0;  // the other classes' share, summed without the label's
    float shares = 0, further = 0;      // of smoothing: -log p of a class is the label's and more
    visit(z, [&](int64_t, float v) { top = Larger{}(top, v); });
    top = join_lanes(top, lanes, Larger{});
    const float at_label = z[valid ? label : 0] - top, w = weight(label), own = expf(at_label);
    visit(z, [&](int64_t c, float v) {
      others += c == label ? 0.F : expf(v - top);
      if constexpr (form == Form::smoothed) {
        shares += share(c);
        further += share(c) * (at_label - (v - top));
      }
    });
    others = join_lanes(others, lanes, Plus{});
    const float sum = others + own;
    if constexpr (form == Form::smoothed) {
      shares = join_lanes(shares, lanes, Plus{});
      further = join_lanes(further, lanes, Plus{});
      const float rest = 1 - degree * static_cast<float>(channels);
      const float hit = rest * w * scale / sum, all = shares * scale / sum;
      visit(z, dz, [&](int64_t c, float v) {
        if (!valid) return 0.F;
        const float e = expf(v - top);
        return (c == label ? -others : e) * hit + e * all - share(c) * scale;
      });
      if (!valid || threadIdx.x != 0) return 0;
      return double{rest * w + shares} * (double{log1pf(others + (own - 1))} - double{at_label}) +
             double{further};
    } else {
      const float entropy = log1pf(others + (own - 1)) - at_label;
      const Focus f = focus<form>(degree, others / sum, entropy);
      const float factor = w * scale * f.gradient / sum;
      visit(z, dz, [&](int64_t c, float v) {
        if (!valid) return 0.F;
        return (c == label ? -others : expf(v - top)) * factor;
      });
      if (!valid || threadIdx.x != 0) return 0;
      return double{w} * double{f.loss} * (double{log1pf(others + (own - 1))} - double{at_label});
    }
  }
};

// The sum over channels of log(1 + exp(z)), or of p log(1 + exp(-z)) where the class is there.
template <Form of>
struct BcePixel {
  static constexpr Form form = of;
  const float* pos_weight;  // or null
  int64_t channels;
  float degree;

  SIMT_DEVICE float weight(int64_t label) const {
    return label < (channels == 1 ? 2 : channels) ? static_cast<float>(channels) : 0.F;
  }
  template <class Visit>
  SIMT_DEVICE double evaluate(const float* z, float* dz, int64_t label, float scale, unsigned,
                              const Visit& visit) const {
    const bool valid = weight(label) > 0;
    double loss = 0;
    visit(z, dz, [&](int64_t c, float v) {
      if (!valid) return 0.F;
      const bool hit = channels == 1 ? label == 1 : label == c;
      const float p = !hit || pos_weight == nullptr ? 1.F : pos_weight[c];
      const float away = hit ? -v : v, e = expf(-fabsf(v));
      const float q = (away < 0 ? e : 1.F) / (1 + e);  // sigmoid(away); if it is small, so is e
      const double softplus = double{log1pf(e)} + (away > 0 ? away : 0.F);
      const Focus f = focus<form>(degree, q, static_cast<float>(softplus));
      loss += double{p} * double{f.loss} * softplus;
      return (hit ? -p : p) * q * f.gradient * scale;
    });
    return loss;
  }
};

template <class Pixel>
__global__ void __launch_bounds__(block_threads)
    weigh_kernel(double* __restrict__ sums, const uint8_t* __restrict__ labels, int64_t count,
                 Pixel pixel) {
  constexpr int n = Pack<uint8_t>::size;
  double sum = 0;
  const int64_t step = int64_t{gridDim.x} * block_threads * n;
  for (int64_t i = (int64_t{blockIdx.x} * block_threads + threadIdx.x) * n; i < count; i += step) {
    if (i + n <= count) {
      const Pack<uint8_t> pack = simt::load16(labels + i);
      SIMT_UNROLL
      for (int k = 0; k < n; ++k) sum += pixel.weight(pack.v[k]);
    } else {
      for (int64_t k = i; k < count; ++k) sum += pixel.weight(labels[k]);
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The packs of channels of this thread in a pixel.
template <int N>
struct Packs {
  Pixels g;
  template <class F>
  SIMT_DEVICE void operator()(const float* z, const F& f) const {
    for_each_pack<N>(g, [&](int64_t c) {
      const Floats<N> v = load_floats<N>(z + c);
      for (int k = 0; k < N; ++k) f(c + k, v.v[k]);
    });
  }
  template <class F>
  SIMT_DEVICE void operator()(const float* z, float* out, const F& f) const {
    for_each_pack<N>(g, [&](int64_t c) {
      Floats<N> v = load_floats<N>(z + c);
      for (int k = 0; k < N; ++k) v.v[k] = f(c + k, v.v[k]);
      if (out != nullptr) store_floats(out + c, v);
    });
  }
};

// Of a multiprocessor. Said aloud, since ptxas prefers more of them and spills registers for it.
constexpr unsigned resident_blocks(Form form) {
  return form == Form::smoothed ? 4 : form == Form::focal ? 5 : 6;
}

struct LossBuffers {
  const float* logits;
  const uint8_t* labels;
  float *loss, *dlogits;
};
template <class Pixel, int N>
__global__ void __launch_bounds__(block_threads, resident_blocks(Pixel::form))
    loss_kernel(double* __restrict__ sums, LossBuffers b, const double* __restrict__ weights,
                unsigned weight_count, float factor, Pixel pixel, Pixels g) {
  const float scale = static_cast<float>(scale_of(weights, weight_count, factor));
  double sum = 0;
  for_each_pixel(g, [&](int64_t i, bool own) {
    float* const gradient = own ? b.dlogits + i * g.channels : nullptr;
    const double part = pixel.evaluate(b.logits + i * g.channels, gradient, b.labels[i], scale,
                                       g.lanes, Packs<N>{g});
    if (own) sum += part;
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0 && threadIdx.y == 0) sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(block_threads)
    finish_kernel(float* __restrict__ loss, const double* __restrict__ sums, unsigned count,
                  const double* __restrict__ weights, unsigned weight_count, float factor) {
  double sum = 0;
  for (unsigned i = threadIdx.x; i < count; i += block_threads) sum += sums[i];
  sum = block_sum(sum);
  const double scale = scale_of(weights, weight_count, factor);
  if (threadIdx.x == 0) *loss = static_cast<float>(scale * sum);
}

template <class P, template <Form> class Pixel>
struct LossKernel final : Kernel<P> {
  explicit LossKernel(const P& p) : p_(p) {}
  size_t workspace() const override { return (weight_sums + full_grid) * sizeof(double); }
  void run(const typename P::Buffers& b, void* workspace, Stream& stream) const override {
    if constexpr (requires { p_.smoothing; }) {
      if (p_.smoothing > 0) return launch(make<Form::smoothed>(b), b, workspace, stream);
    }
    if (p_.gamma > 0) return launch(make<Form::focal>(b), b, workspace, stream);
    launch(make<Form::plain>(b), b, workspace, stream);
  }

 private:
  template <class PixelLoss>
  void launch(const PixelLoss& pixel, const typename P::Buffers& b, void* workspace,
              Stream& stream) const {
    const int64_t pixels = p_.logits.pixels();
    auto* const weights = static_cast<double*>(workspace);
    double* const sums = weights + weight_sums;
    const unsigned blocks = std::min(simt::blocks_for(pixels, block_threads * Pack<uint8_t>::size),
                                     unsigned{weight_sums});
    simt::launch(weigh_kernel<PixelLoss>, Dim{blocks}, Dim{block_threads}, 0, stream, weights,
                 b.labels, pixels, pixel);
    const LossBuffers buffers{static_cast<const float*>(b.logits), b.labels,
                              static_cast<float*>(b.loss), static_cast<float*>(b.dlogits)};
    const auto evaluate = [&]<int N>(Pack<float, N>) {
      const Pixels g = pixels_of<N>(p_.logits);
      simt::launch(loss_kernel<PixelLoss, N>, g.grid(), g.block(), 0, stream, sums, buffers,
                   weights, blocks, p_.factor, pixel, g);
      simt::launch(finish_kernel, Dim{1}, Dim{block_threads}, 0, stream, buffers.loss, sums,
                   g.blocks, weights, blocks, p_.factor);
    };
    if (pack_size(DType::f32, p_.logits.c) == 1) return evaluate(Pack<float, 1>{});
    evaluate(Pack<float>{});
  }
  template <Form form>
  Pixel<form> make(const typename P::Buffers& b) const {
    return {static_cast<const float*>(b.class_weights()), p_.logits.c, degree_of(p_, form)};
  }

  P p_;
};

}  // namespace

void register_loss() {
  add<LossKernel<CrossEntropy, CrossEntropyPixel>, CrossEntropy>(only_f32);
  add<LossKernel<BceWithLogits, BcePixel>, BceWithLogits>(only_f32);
}

}  // namespace unetd::UNETD_GPU
