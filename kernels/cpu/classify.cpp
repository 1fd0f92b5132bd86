// Classes of pixels and the confusion matrix, memory bound: the values are read once, a pixel at a
// time. A chunk of pixels counts for itself and adds its counts to the matrix at its end.
#include "engine/op/classify.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#include <array>
#include <atomic>

namespace unetd::UNETD_ISA {
namespace {

constexpr int64_t chunk_pixels = 4096;

template <class P>
const char* reject(const P& p) {
  if (p.dtype != DType::f32) return "f32 only";
  return p.classes() <= block ? nullptr : "more than 16 classes";
}

// A pixel's values: a pack of up to 16 channels every `step` floats.
struct Pixel {
  const float* values;
  int64_t step;
  float operator[](int64_t c) const { return values[c / block * step + c % block]; }
};

// visit(i, pixel) for the pixels [begin, end) of all images.
template <class P, class F>
void for_each_pixel(const P& p, const void* values, int64_t begin, int64_t end, F&& visit) {
  const auto* const from = static_cast<const float*>(values);
  const int64_t plane = p.values.h * p.values.w;
  for (int64_t i = begin; i < end; ++i) {
    if (p.kind == Kind::dense) {
      visit(i, Pixel{from + i * p.values.c, block});
    } else {
      const int64_t first = i / plane * blocks(p.values.c) * plane + i % plane;
      visit(i, Pixel{from + first * block, plane * block});
    }
  }
}

template <class P>
uint8_t class_of(const P& p, const Pixel& pixel) {
  if (p.values.c == 1) return pixel[0] > p.threshold ? 1 : 0;
  int64_t best = 0;
  float top = pixel[0];
  for (int64_t c = 1; c < p.values.c; ++c) {
    if (pixel[c] > top) top = pixel[c], best = c;
  }
  return static_cast<uint8_t>(best);
}

bool has_nan(const Pixel& pixel, int64_t channels) {
  bool found = false;
  for (int64_t c = 0; c < channels; ++c) found = found || pixel[c] != pixel[c];
  return found;
}

void classify(const Classify& p, const Classify::Buffers& b) {
  parallel_chunks(p.values.pixels(), chunk_pixels, [&](int64_t begin, int64_t end) {
    for_each_pixel(p, b.values, begin, end, [&](int64_t i, const Pixel& pixel) {
      b.classes[i] = has_nan(pixel, p.values.c) ? no_class : class_of(p, pixel);
    });
  });
}

void confusion_matrix(const ConfusionMatrix& p, const ConfusionMatrix::Buffers& b) {
  const int64_t classes = p.classes();
  parallel_chunks(p.values.pixels(), chunk_pixels, [&](int64_t begin, int64_t end) {
    std::array<int64_t, block * block> counts{};
    for_each_pixel(p, b.values, begin, end, [&](int64_t i, const Pixel& pixel) {
      if (b.labels[i] >= classes) return;
      ++counts[static_cast<size_t>(b.labels[i] * classes + class_of(p, pixel))];
    });
    for (int64_t cell = 0; cell < classes * classes; ++cell) {
      const int64_t count = counts[static_cast<size_t>(cell)];
      std::atomic_ref(b.counts[cell]).fetch_add(count, std::memory_order_relaxed);
    }
  });
}

void probability_counts(const ProbabilityCounts& p, const ProbabilityCounts::Buffers& b) {
  using P = ProbabilityCounts;
  constexpr size_t most = size_t{2 * block} + P::fields * P::bins;
  const int64_t classes = p.classes();
  parallel_chunks(p.values.pixels(), chunk_pixels, [&](int64_t begin, int64_t end) {
    std::array<int64_t, most> counts{};
    for_each_pixel(p, b.values, begin, end, [&](int64_t i, const Pixel& pixel) {
      const int64_t label = b.labels[i];
      if (label >= classes || has_nan(pixel, p.values.c)) return;
      const auto share = [&](int64_t c) {
        return p.values.c > 1 ? pixel[c] : c == 1 ? pixel[0] : 1 - pixel[0];
      };
      int64_t best = 0;
      float confidence = share(0);
      for (int64_t c = 0; c < classes; ++c) {
        const float v = share(c);
        if (v > confidence) confidence = v, best = c;
        if (!(v > p.threshold)) continue;
        ++counts[static_cast<size_t>(c)];
        if (c == label) ++counts[static_cast<size_t>(classes + c)];
      }
      const auto bin = static_cast<size_t>(2 * classes + P::fields * P::bin_of(confidence));
      ++counts[bin];
      if (best == label) ++counts[bin + 1];
      counts[bin + 2] += static_cast<int64_t>(confidence * P::unit);
    });
    for (int64_t cell = 0; cell < p.count(); ++cell) {
      const int64_t count = counts[static_cast<size_t>(cell)];
      if (count != 0) std::atomic_ref(b.counts[cell]).fetch_add(count, std::memory_order_relaxed);
    }
  });
}

}  // namespace

void register_classify() {
  add_function<classify, Classify>(DeviceType::cpu, isa_name, f32_only);
  add_function<confusion_matrix, ConfusionMatrix>(DeviceType::cpu, isa_name, reject);
  add_function<probability_counts, ProbabilityCounts>(DeviceType::cpu, isa_name, reject);
}

}  // namespace unetd::UNETD_ISA
