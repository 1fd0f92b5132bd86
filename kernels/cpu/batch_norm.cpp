// Batch normalisation, memory bound. Forward: one pass for the statistics, one to normalise (3
// streams of the image). Backward: one pass for the two sums, one for dx (5 streams).
#include "engine/op/batch_norm.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#include <algorithm>
#include <cmath>

namespace unetd::UNETD_ISA {
namespace {

// Pixels that one task reads: 64 KiB of x, so that a second look at them comes from the cache.
constexpr int64_t chunk_pixels = 1024;

// The planes (n, channel block) of an image, cut into chunks. Partial sums are stored per chunk and
// added in order, so their bits do not depend on the number of threads.
struct Chunks {
  int64_t n, cb, pixels, per_plane;
  explicit Chunks(const Shape& s)
      : n(s.n),
        cb(blocks(s.c)),
        pixels(s.h * s.w),
        per_plane((pixels + chunk_pixels - 1) / chunk_pixels) {}
  int64_t count() const { return n * cb * per_plane; }

  // body(chunk index, channel block, offset of the first element, pixels)
  template <class F>
  void for_each(F&& body) const {
    parallel_for(count(), [&](int64_t i) {
      const int64_t plane = i / per_plane, first = i % per_plane * chunk_pixels;
      body(i, plane % cb, (plane * pixels + first) * block, std::min(chunk_pixels, pixels - first));
    });
  }
  // fold(chunk index, pixels) over the chunks of one channel block in a fixed order
  template <class F>
  void fold(int64_t c, F&& body) const {
    for (int64_t image = 0; image < n; ++image) {
      for (int64_t j = 0; j < per_plane; ++j) {
        body((image * cb + c) * per_plane + j, std::min(chunk_pixels, pixels - j * chunk_pixels));
      }
    }
  }
};

// Two vectors of 16 sums per chunk.
size_t partials(const Shape& s) {
  return static_cast<size_t>(Chunks(s).count()) * 2 * block * sizeof(float);
}

// A block of channels. (x - mean) * scale + beta rather than x * scale + shift: where the variance
// is small, scale and shift are large and cancel.
struct Channels {
  Vec mean, scale, beta;
  Vec operator()(const Vec& x) const { return (x - mean) * scale + beta; }
};

void normalise(const Channels& k, const float* x, float* y, int64_t pixels, bool relu) {
  for (int64_t i = 0; i < pixels * block; i += block) {
    const Vec v = k(load(x + i));
    store(y + i, relu ? positive_part(v) : v);
  }
}

// The vector of channel block c of a parameter.
Vec of_block(const void* p, int64_t c) { return load(static_cast<const float*>(p) + c * block); }

struct Forward final : Kernel<BatchNorm> {
  explicit Forward(const BatchNorm& p) : p_(p), chunks_(p.shape) {}
  size_t workspace() const override { return partials(p_.shape); }
  void run(const BatchNorm::Buffers& b, void* workspace, Stream&) const override {
    const float* x = static_cast<const float*>(b.x);
    float* sums = static_cast<float*>(workspace);
    chunks_.for_each([&](int64_t i, int64_t, int64_t at, int64_t pixels) {
      moments(x + at, pixels, sums + i * 2 * block);
    });
    for (int64_t c = 0; c < chunks_.cb; ++c) finish(b, sums, c);
    float* y = static_cast<float*>(b.y);
    chunks_.for_each([&](int64_t, int64_t c, int64_t at, int64_t pixels) {
      const Channels k{of_block(b.mean, c), of_block(b.gamma, c) * of_block(b.rstd, c),
                       of_block(b.beta, c)};
      normalise(k, x + at, y + at, pixels, p_.relu);
    });
  }

 private:
  // Mean and sum of squared deviations of a chunk: no cancellation however large the mean is.
  static void moments(const float* x, int64_t pixels, float* out) {
    Vec sum[2] = {}, squares[2] = {};
    int64_t i = 0;
    for (; i + 1 < pixels; i += 2) {
      sum[0] += load(x + i * block);
      sum[1] += load(x + (i + 1) * block);
    }
    if (i < pixels) sum[0] += load(x + i * block);
    const Vec mean = (sum[0] + sum[1]) / static_cast<float>(pixels);
    for (i = 0; i + 1 < pixels; i += 2) {
      const Vec d = load(x + i * block) - mean, e = load(x + (i + 1) * block) - mean;
      squares[0] += d * d;
      squares[1] += e * e;
    }
    if (i < pixels) {
      const Vec d = load(x + i * block) - mean;
      squares[0] += d * d;
    }
    store(out, mean);
    store(out + block, squares[0] + squares[1]);
  }

  // Joins the chunks of channel block c (Chan, Golub and LeVeque, 1979) and updates the statistics.
  void finish(const BatchNorm::Buffers& b, const float* sums, int64_t c) const {
    const auto at = [c](void* p) { return static_cast<float*>(p) + c * block; };
    const double momentum = p_.momentum;
    for (int64_t lane = 0; lane < block; ++lane) {
      double count = 0, mean = 0, squares = 0;
      chunks_.fold(c, [&](int64_t i, int64_t pixels) {
        const auto more = static_cast<double>(pixels);
        const double delta = sums[i * 2 * block + lane] - mean;
        squares += sums[(i * 2 + 1) * block + lane] + delta * delta * count * more / (count + more);
        mean += delta * more / (count + more);
        count += more;
      });
      const double var = squares / count, rstd = 1 / std::sqrt(var + p_.eps);
      const double unbiased = count > 1 ? squares / (count - 1) : var;
      const bool padding = c * block + lane >= p_.shape.c;
      at(b.mean)[lane] = padding ? 0 : static_cast<float>(mean);
      at(b.rstd)[lane] = padding ? 0 : static_cast<float>(rstd);
      if (padding) continue;
      float &running_mean = at(b.running_mean)[lane], &running_var = at(b.running_var)[lane];
      running_mean = static_cast<float>((1 - momentum) * running_mean + momentum * mean);
      running_var = static_cast<float>((1 - momentum) * running_var + momentum * unbiased);
    }
  }

  BatchNorm p_;
  Chunks chunks_;
};

struct Backward final : Kernel<BatchNormGrad> {
  explicit Backward(const BatchNormGrad& p) : p_(p), chunks_(p.shape) {}
  // Sums of the chunks, then two coefficients of the channels.
  size_t workspace() const override {
    return partials(p_.shape) + 2 * static_cast<size_t>(padded(p_.shape.c)) * sizeof(float);
  }
  void run(const BatchNormGrad::Buffers& b, void* workspace, Stream&) const override {
    const float *x = static_cast<const float*>(b.x), *dy = static_cast<const float*>(b.dy);
    float* sums = static_cast<float*>(workspace);
    float* coefficients = sums + chunks_.count() * 2 * block;
    chunks_.for_each([&](int64_t i, int64_t c, int64_t at, int64_t pixels) {
      reduce(channel(b, c), x + at, dy + at, pixels, sums + i * 2 * block);
    });
    for (int64_t c = 0; c < chunks_.cb; ++c) finish(b, sums, c, coefficients + c * 2 * block);
    float* dx = static_cast<float*>(b.dx);
    chunks_.for_each([&](int64_t, int64_t c, int64_t at, int64_t pixels) {
      apply(channel(b, c), coefficients + c * 2 * block, x + at, dy + at, dx + at, pixels);
    });
  }

 private:
  struct Channel {
    Channels forward;
    Vec rstd;
  };
  static Channel channel(const BatchNormGrad::Buffers& b, int64_t c) {
    const Vec rstd = of_block(b.rstd, c);
    return {{of_block(b.mean, c), of_block(b.gamma, c) * rstd, of_block(b.beta, c)}, rstd};
  }
  // dy where the fused ReLU let the value pass
  Vec masked(const Channel& k, const Vec& x, const Vec& dy) const {
    return p_.relu ? choose(k.forward(x) > 0, dy, Vec{}) : dy;
  }
  // Sums of dy and of dy * (x - mean) * rstd.
  void reduce(const Channel& k, const float* x, const float* dy, int64_t pixels, float* out) const {
    Vec plain = {}, weighted = {};
    for (int64_t i = 0; i < pixels * block; i += block) {
      const Vec v = load(x + i), g = masked(k, v, load(dy + i));
      plain += g;
      weighted += g * (v - k.forward.mean);
    }
    store(out, plain);
    store(out + block, weighted * k.rstd);
  }
  void finish(const BatchNormGrad::Buffers& b, const float* sums, int64_t c, float* out) const {
    const Channel k = channel(b, c);
    const auto count = static_cast<double>(p_.shape.pixels());
    for (int64_t lane = 0; lane < block; ++lane) {
      double dbeta = 0, dgamma = 0;
      chunks_.fold(c, [&](int64_t i, int64_t) {
        dbeta += sums[i * 2 * block + lane];
        dgamma += sums[(i * 2 + 1) * block + lane];
      });
      static_cast<float*>(b.dbeta)[c * block + lane] = static_cast<float>(dbeta);
      static_cast<float*>(b.dgamma)[c * block + lane] = static_cast<float>(dgamma);
      // dx = scale * (dy - dbeta/N - xhat * dgamma/N) = scale * dy + slope * (x - mean) + constant
      const double scale = k.forward.scale[lane];
      out[lane] = static_cast<float>(-scale * k.rstd[lane] * dgamma / count);
      out[block + lane] = static_cast<float>(-scale * dbeta / count);
    }
  }
  void apply(const Channel& k, const float* coefficients, const float* x, const float* dy,
             float* dx, int64_t pixels) const {
    const Vec slope = load(coefficients), constant = load(coefficients + block);
    for (int64_t i = 0; i < pixels * block; i += block) {
      const Vec v = load(x + i), g = masked(k, v, load(dy + i));
      store(dx + i, k.forward.scale * g + (slope * (v - k.forward.mean) + constant));
    }
  }

  BatchNormGrad p_;
  Chunks chunks_;
};

struct Inference final : Kernel<BatchNormInference> {
  explicit Inference(const BatchNormInference& p) : p_(p), chunks_(p.shape) {}
  size_t workspace() const override {
    return static_cast<size_t>(padded(p_.shape.c)) * sizeof(float);
  }
  void run(const BatchNormInference::Buffers& b, void* workspace, Stream&) const override {
    float* scale = static_cast<float*>(workspace);
    const auto at = [](const void* p, int64_t c) { return static_cast<const float*>(p)[c]; };
    for (int64_t c = 0; c < padded(p_.shape.c); ++c) {
      scale[c] = c >= p_.shape.c ? 0 : at(b.gamma, c) / std::sqrt(at(b.var, c) + p_.eps);
    }
    const float* x = static_cast<const float*>(b.x);
    float* y = static_cast<float*>(b.y);
    chunks_.for_each([&](int64_t, int64_t c, int64_t i, int64_t pixels) {
      const Channels k{of_block(b.mean, c), of_block(scale, c), of_block(b.beta, c)};
      normalise(k, x + i, y + i, pixels, p_.relu);
    });
  }

 private:
  BatchNormInference p_;
  Chunks chunks_;
};

}  // namespace

void register_batch_norm() {
  const auto cpu = DeviceType::cpu;
  add_kernel<BatchNorm, Forward>(cpu, isa_name, f32_only);
  add_kernel<BatchNormGrad, Backward>(cpu, isa_name, f32_only);
  add_kernel<BatchNormInference, Inference>(cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
