// Batch normalisation, memory bound. Forward: one pass for the statistics, one to normalise (3
// streams of the image). Backward: one pass for the two sums, one for dx (5 streams). With pooling
// a quarter of a stream more forward, half a one more backward.
#include "engine/op/batch_norm.h"

#include "engine/base/threads.h"
#include "engine/op/batch_norm_pool.h"
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
  int64_t n, cb, pixels, chunk, per_plane;
  explicit Chunks(const Shape& s, int64_t pixels_of_chunk = chunk_pixels)
      : n(s.n),
        cb(blocks(s.c)),
        pixels(s.h * s.w),
        chunk(pixels_of_chunk),
        per_plane((pixels + chunk - 1) / chunk) {}
  int64_t count() const { return n * cb * per_plane; }

  // body(chunk index, channel block, offset of the first element, pixels)
  template <class F>
  void for_each(F&& body) const {
    parallel_for(count(), [&](int64_t i) {
      const int64_t plane = i / per_plane, first = i % per_plane * chunk;
      body(i, plane % cb, (plane * pixels + first) * block, std::min(chunk, pixels - first));
    });
  }
  // fold(chunk index, pixels) over the chunks of one channel block in a fixed order
  template <class F>
  void fold(int64_t c, F&& body) const {
    for (int64_t image = 0; image < n; ++image) {
      for (int64_t j = 0; j < per_plane; ++j) {
        body((image * cb + c) * per_plane + j, std::min(chunk, pixels - j * chunk));
      }
    }
  }
};

// Two vectors of 16 sums per chunk.
size_t partials(const Chunks& chunks) {
  return static_cast<size_t>(chunks.count()) * 2 * block * sizeof(float);
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

// --- statistics ----------------------------------------------------------------------------------

struct Stats final : Kernel<BatchNormStats> {
  explicit Stats(const BatchNormStats& p) : p_(p), chunks_(p.shape) {}
  size_t workspace() const override { return partials(chunks_); }
  void run(const BatchNormStats::Buffers& b, void* workspace, Stream&) const override {
    const float* x = static_cast<const float*>(b.x);
    float* sums = static_cast<float*>(workspace);
    chunks_.for_each([&](int64_t i, int64_t, int64_t at, int64_t pixels) {
      moments(x + at, pixels, sums + i * 2 * block);
    });
    for (int64_t c = 0; c < chunks_.cb; ++c) finish(b, sums, c);
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
  void finish(const BatchNormStats::Buffers& b, const float* sums, int64_t c) const {
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

  BatchNormStats p_;
  Chunks chunks_;
};

// --- the image -----------------------------------------------------------------------------------

template <class Buffers>
Channels channels_of(const Buffers& b, int64_t c) {
  return {of_block(b.mean, c), of_block(b.gamma, c) * of_block(b.rstd, c), of_block(b.beta, c)};
}

void apply(const BatchNormApply& p, const BatchNormApply::Buffers& b) {
  const float* x = static_cast<const float*>(b.x);
  float* y = static_cast<float*>(b.y);
  Chunks(p.shape).for_each([&](int64_t, int64_t c, int64_t at, int64_t pixels) {
    normalise(channels_of(b, c), x + at, y + at, pixels, p.relu);
  });
}

// --- the image and its maxima --------------------------------------------------------------------

// a where it is more than b. NaN is more than any number.
Mask exceeds(const Vec& a, const Vec& b) { return (a > b) | ((a != a) & (b == b)); }

// Rows of windows: pairs of lines of the planes, and last lines without a partner.
struct WindowRows {
  Shape image, pooled;
  explicit WindowRows(const Shape& s) : image(s), pooled{s.n, s.h / 2, s.w / 2, s.c} {}
  int64_t line() const { return image.w * block; }

  // As many whole ones as fill a chunk of pixels.
  Chunks chunks() const {
    const int64_t pixels = 2 * image.w;
    return Chunks(image, std::max<int64_t>(chunk_pixels / pixels, 1) * pixels);
  }
  // whole(offset of the upper line, offset of its windows' maxima) or single(offset of the line)
  // for the pixels from element `at` on, which begin a row of windows.
  template <class Whole, class Single>
  void for_each(int64_t at, int64_t pixels, Whole&& whole, Single&& single) const {
    const int64_t first = at / line(), end = first + pixels / image.w;
    const int64_t plane = first / image.h, begin = plane * image.h;
    for (int64_t row = first; row < end; row += 2) {
      if (row + 1 == end) return single(row * line());
      whole(row * line(), (plane * pooled.h + (row - begin) / 2) * pooled.w * block);
    }
  }
};

void apply_pool(const BatchNormApplyPool& p, const BatchNormApplyPool::Buffers& b) {
  const WindowRows rows(p.shape);
  const int64_t line = rows.line();
  const float* x = static_cast<const float*>(b.x);
  float *y = static_cast<float*>(b.y), *pooled = static_cast<float*>(b.pooled);
  rows.chunks().for_each([&](int64_t, int64_t c, int64_t at, int64_t pixels) {
    const Channels k = channels_of(b, c);
    const auto single = [&](int64_t from) { normalise(k, x + from, y + from, p.shape.w, true); };
    const auto whole = [&](int64_t from, int64_t maxima) {
      for (int64_t w = 0; w < rows.pooled.w; ++w) {
        Vec best = {};
        for (int tap = 0; tap < 4; ++tap) {
          const int64_t i = from + tap / 2 * line + (2 * w + tap % 2) * block;
          const Vec v = positive_part(k(load(x + i)));
          store(y + i, v);
          best = tap == 0 ? v : choose(exceeds(v, best), v, best);
        }
        store(pooled + maxima + w * block, best);
      }
      if (p.shape.w % 2 == 0) return;
      for (const int64_t last : {from + line - block, from + 2 * line - block}) {
        normalise(k, x + last, y + last, 1, true);
      }
    };
    rows.for_each(at, pixels, whole, single);
  });
}

// --- gradients -----------------------------------------------------------------------------------

// A source hands out a chunk of pixels: use(offset, x, the gradient of y where the ReLU let it
// pass).
struct PlainSource {
  using Problem = BatchNormGrad;
  BatchNormGrad p;
  Chunks chunks;
  explicit PlainSource(const BatchNormGrad& problem) : p(problem), chunks(p.shape) {}

  template <class Use>
  void for_each(const BatchNormGrad::Buffers& b, const Channels& k, int64_t at, int64_t pixels,
                Use&& use) const {
    const float *x = static_cast<const float*>(b.x), *dy = static_cast<const float*>(b.dy);
    for (int64_t i = at; i < at + pixels * block; i += block) {
      const Vec v = load(x + i), g = load(dy + i);
      use(i, v, p.relu ? choose(k(v) <= 0, Vec{}, g) : g);
    }
  }
};

struct PooledSource {
  using Problem = BatchNormPoolGrad;
  BatchNormPoolGrad p;
  WindowRows rows;
  Chunks chunks;
  explicit PooledSource(const BatchNormPoolGrad& problem)
      : p(problem), rows(p.shape), chunks(rows.chunks()) {}

  template <class Use>
  void for_each(const BatchNormPoolGrad::Buffers& b, const Channels& k, int64_t at, int64_t pixels,
                Use&& use) const {
    const float *x = static_cast<const float*>(b.x), *skip = static_cast<const float*>(b.dy_skip);
    const float* dpooled = static_cast<const float*>(b.dpooled);
    const int64_t line = rows.line();
    const auto alone = [&](int64_t i) {
      const Vec v = load(x + i);
      use(i, v, choose(k(v) <= 0, Vec{}, load(skip + i)));
    };
    const auto single = [&](int64_t from) {
      for (int64_t i = from; i < from + line; i += block) alone(i);
    };
    const auto whole = [&](int64_t from, int64_t maxima) {
      for (int64_t w = 0; w < rows.pooled.w; ++w) {
        window(k, x, skip, from + 2 * w * block, load(dpooled + maxima + w * block), use);
      }
      if (p.shape.w % 2 == 0) return;
      alone(from + line - block);
      alone(from + 2 * line - block);
    };
    rows.for_each(at, pixels, whole, single);
  }

 private:
  template <class Use>
  void window(const Channels& k, const float* x, const float* skip, int64_t corner,
              const Vec& gradient, Use&& use) const {
    int64_t at[4];
    Vec v[4], y[4];
    Mask place = {};
    Vec best = {};
    for (int tap = 0; tap < 4; ++tap) {
      at[tap] = corner + tap / 2 * rows.line() + tap % 2 * block;
      v[tap] = load(x + at[tap]);
      y[tap] = k(v[tap]);
      const Mask more = tap == 0 ? ~Mask{} : exceeds(y[tap], best);
      best = choose(more, y[tap], best);
      place = more ? Mask{} + tap : place;
    }
    for (int tap = 0; tap < 4; ++tap) {
      const Vec g = load(skip + at[tap]) + choose(place == tap, gradient, Vec{});
      use(at[tap], v[tap], choose(y[tap] <= 0, Vec{}, g));
    }
  }
};

template <class Source>
struct Backward final : Kernel<typename Source::Problem> {
  using Problem = typename Source::Problem;
  using Buffers = typename Problem::Buffers;

  explicit Backward(const Problem& p) : source_(p) {}
  // Sums of the chunks, then two coefficients of the channels.
  size_t workspace() const override {
    return partials(source_.chunks) +
           2 * static_cast<size_t>(padded(source_.p.shape.c)) * sizeof(float);
  }
  void run(const Buffers& b, void* workspace, Stream&) const override {
    const Chunks& chunks = source_.chunks;
    float* sums = static_cast<float*>(workspace);
    float* coefficients = sums + chunks.count() * 2 * block;
    chunks.for_each([&](int64_t i, int64_t c, int64_t at, int64_t pixels) {
      reduce(b, c, at, pixels, sums + i * 2 * block);
    });
    for (int64_t c = 0; c < chunks.cb; ++c) finish(b, sums, c, coefficients + c * 2 * block);
    chunks.for_each([&](int64_t, int64_t c, int64_t at, int64_t pixels) {
      write(b, c, at, pixels, coefficients + c * 2 * block);
    });
  }

 private:
  // Sums of dy and of dy * (x - mean) * rstd.
  void reduce(const Buffers& b, int64_t c, int64_t at, int64_t pixels, float* out) const {
    const Channels k = channels_of(b, c);
    Vec plain = {}, weighted = {};
    source_.for_each(b, k, at, pixels, [&](int64_t, const Vec& x, const Vec& g) {
      plain += g;
      weighted += g * (x - k.mean);
    });
    store(out, plain);
    store(out + block, weighted * of_block(b.rstd, c));
  }
  void finish(const Buffers& b, const float* sums, int64_t c, float* out) const {
    const Vec scale = channels_of(b, c).scale, rstd = of_block(b.rstd, c);
    const auto count = static_cast<double>(source_.p.shape.pixels());
    for (int64_t lane = 0; lane < block; ++lane) {
      double dbeta = 0, dgamma = 0;
      source_.chunks.fold(c, [&](int64_t i, int64_t) {
        dbeta += sums[i * 2 * block + lane];
        dgamma += sums[(i * 2 + 1) * block + lane];
      });
      static_cast<float*>(b.dbeta)[c * block + lane] = static_cast<float>(dbeta);
      static_cast<float*>(b.dgamma)[c * block + lane] = static_cast<float>(dgamma);
      // dx = scale * (dy - dbeta/N - xhat * dgamma/N) = scale * dy + slope * (x - mean) + constant
      const double s = scale[lane];
      out[lane] = static_cast<float>(-s * rstd[lane] * dgamma / count);
      out[block + lane] = static_cast<float>(-s * dbeta / count);
    }
  }
  void write(const Buffers& b, int64_t c, int64_t at, int64_t pixels,
             const float* coefficients) const {
    const Channels k = channels_of(b, c);
    const Vec slope = load(coefficients), constant = load(coefficients + block);
    float* dx = static_cast<float*>(b.dx);
    source_.for_each(b, k, at, pixels, [&](int64_t i, const Vec& x, const Vec& g) {
      store(dx + i, k.scale * g + (slope * (x - k.mean) + constant));
    });
  }

  Source source_;
};

// --- inference -----------------------------------------------------------------------------------

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
  add_kernel<BatchNormStats, Stats>(cpu, isa_name, f32_only);
  add_function<apply, BatchNormApply>(cpu, isa_name, f32_only);
  add_function<apply_pool, BatchNormApplyPool>(cpu, isa_name, f32_only);
  add_kernel<BatchNormGrad, Backward<PlainSource>>(cpu, isa_name, f32_only);
  add_kernel<BatchNormPoolGrad, Backward<PooledSource>>(cpu, isa_name, f32_only);
  add_kernel<BatchNormInference, Inference>(cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
