// Classes of pixels, the confusion matrix and the counts of probabilities. The values and labels
// are read once, a byte a pixel or nothing but counts is written. A few neighbouring threads have a
// pixel, as in softmax, each packs of 16 bytes of its channels.
//
// The matrix: a block counts in shared memory, in up to 32 copies that lie cell by cell, so that
// the lanes of a warp which meet the same cell use different banks; then it adds what is not zero
// to the matrix. Where that does not fit, it counts there at once.
#include "engine/op/classify.h"
#include "kernels/cuda/reduce.h"

namespace unetd::UNETD_GPU {
namespace {

// A value with its channel as one number: the larger is the better, of equal values the first
// channel. 0 is worse than any.
constexpr uint64_t not_a_number = ~uint64_t{0};
constexpr uint64_t channel_bits = 0xffffffffU;
SIMT_DEVICE uint64_t rank_of(float value, int64_t channel) {
  const uint32_t bits = unetd::detail::bits_of(value + 0.F);  // -0 equals 0
  const uint32_t ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
  return uint64_t{ordered} << 32 | (channel_bits - static_cast<uint64_t>(channel));
}
SIMT_DEVICE int64_t channel_of(uint64_t rank) {
  return static_cast<int64_t>(channel_bits - (rank & channel_bits));
}

struct HigherRank {
  SIMT_DEVICE uint64_t operator()(uint64_t a, uint64_t b) const { return a > b ? a : b; }
};

// The rank of a pixel's best channel; its lanes have it all. not_a_number if the first of its
// values is NaN, or any with `strict`.
template <bool strict, class T, int N>
SIMT_DEVICE uint64_t best_of(const T* pixel, const Pixels& g, Pack<T, N>) {
  uint64_t best = 0;
  for (int64_t first = int64_t{threadIdx.x} * N; first < g.channels;
       first += int64_t{g.lanes} * N) {
    const Floats<N> v = load_floats<N>(pixel + first);
    for (int k = 0; k < N; ++k) {
      const int64_t c = first + k;
      const bool lost = v.v[k] != v.v[k];
      const uint64_t rank = lost ? (strict || c == 0 ? not_a_number : 0) : rank_of(v.v[k], c);
      best = HigherRank{}(best, rank);
    }
  }
  return join_lanes(best, g.lanes, HigherRank{});
}
template <class T>
SIMT_DEVICE int64_t class_of(uint64_t best, const T* pixel, const Pixels& g, float threshold) {
  if (g.channels == 1) return to_float(*pixel) > threshold ? 1 : 0;
  return channel_of(best);
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    classify_kernel(uint8_t* __restrict__ classes, const T* __restrict__ values, float threshold,
                    Pixels g) {
  for (int64_t begin = int64_t{blockIdx.x} * g.high; begin < g.pixels;
       begin += int64_t{gridDim.x} * g.high) {
    // A thread beyond the last pixel joins in that one, but writes nothing.
    const int64_t own = begin + threadIdx.y, i = own < g.pixels ? own : g.pixels - 1;
    const T* const pixel = values + i * g.channels;
    const uint64_t best = best_of<true>(pixel, g, Pack<T, N>{});
    if (own != i || threadIdx.x != 0) continue;
    classes[i] =
        best == not_a_number ? no_class : static_cast<uint8_t>(class_of(best, pixel, g, threshold));
  }
}

// CUDA adds to unsigned integers of 64 bits only; the bits of the sum are the same.
using Count = unsigned long long;

struct Matrix {
  Count* counts;
  unsigned classes, copies;  // no copies: count in `counts`
};
template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    confusion_kernel(Matrix m, const T* __restrict__ values, const uint8_t* __restrict__ labels,
                     float threshold, Pixels g) {
  unsigned* const slots = simt::dynamic_shared<unsigned>();
  const unsigned self = threadIdx.y * blockDim.x + threadIdx.x, cells = m.classes * m.classes;
  for (unsigned i = self; i < cells * m.copies; i += block_threads) slots[i] = 0;
  __syncthreads();
  for (int64_t begin = int64_t{blockIdx.x} * g.high; begin < g.pixels;
       begin += int64_t{gridDim.x} * g.high) {
    const int64_t own = begin + threadIdx.y, i = own < g.pixels ? own : g.pixels - 1;
    const T* const pixel = values + i * g.channels;
    const uint64_t best = best_of<false>(pixel, g, Pack<T, N>{});
    if (own != i || threadIdx.x != 0 || labels[i] >= m.classes) continue;
    const auto found = static_cast<unsigned>(class_of(best, pixel, g, threshold));
    const unsigned cell = labels[i] * m.classes + found;
    if (m.copies == 0) {
      simt::atomic_add(m.counts + cell, Count{1});
    } else {
      // Of a pixel's lanes only one is here: threadIdx.y tells neighbours apart.
      simt::atomic_add(slots + cell * m.copies + threadIdx.y % m.copies, 1U);
    }
  }
  __syncthreads();
  if (m.copies == 0) return;
  for (unsigned cell = self; cell < cells; cell += block_threads) {
    Count sum = 0;
    for (unsigned copy = 0; copy < m.copies; ++copy) sum += slots[cell * m.copies + copy];
    if (sum != 0) simt::atomic_add(m.counts + cell, sum);
  }
}

// The counts of ProbabilityCounts, in shared memory as those of the matrix.
struct Tallies {
  Count* counts;
  unsigned classes, cells, copies;
  float threshold;
};
template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    probability_kernel(Tallies m, const T* __restrict__ values, const uint8_t* __restrict__ labels,
                       Pixels g) {
  using P = ProbabilityCounts;
  Count* const slots = simt::dynamic_shared<Count>();
  const unsigned self = threadIdx.y * blockDim.x + threadIdx.x;
  for (unsigned i = self; i < m.cells * m.copies; i += block_threads) slots[i] = 0;
  __syncthreads();
  const auto add = [&](unsigned cell, Count count) {
    simt::atomic_add(slots + cell * m.copies + threadIdx.y % m.copies, count);
  };
  for (int64_t begin = int64_t{blockIdx.x} * g.high; begin < g.pixels;
       begin += int64_t{gridDim.x} * g.high) {
    const int64_t own = begin + threadIdx.y, i = own < g.pixels ? own : g.pixels - 1;
    const T* const pixel = values + i * g.channels;
    const uint64_t best = best_of<true>(pixel, g, Pack<T, N>{});
    const unsigned label = labels[i];
    if (own != i || best == not_a_number || label >= m.classes) continue;
    const auto claim = [&](unsigned c, float share) {
      if (!(share > m.threshold)) return;
      add(c, 1);
      if (c == label) add(m.classes + c, 1);
    };
    if (g.channels == 1) {
      const float share = to_float(*pixel);
      claim(0, 1 - share);
      claim(1, share);
    } else {
      for_each_pack<N>(g, [&](int64_t first) {
        const Floats<N> v = load_floats<N>(pixel + first);
        for (int k = 0; k < N; ++k) claim(static_cast<unsigned>(first) + k, v.v[k]);
      });
    }
    if (threadIdx.x != 0) continue;
    // Of equal shares of a lone channel the first class has the pixel.
    const int64_t found = class_of(best, pixel, g, 0.5F);
    const float there = to_float(pixel[g.channels == 1 ? 0 : found]),
                confidence = g.channels == 1 && found == 0 ? 1 - there : there;
    const unsigned bin = 2 * m.classes + P::fields * static_cast<unsigned>(P::bin_of(confidence));
    add(bin, 1);
    if (found == label) add(bin + 1, 1);
    add(bin + 2, static_cast<Count>(confidence * P::unit));
  }
  __syncthreads();
  for (unsigned cell = self; cell < m.cells; cell += block_threads) {
    Count sum = 0;
    for (unsigned copy = 0; copy < m.copies; ++copy) sum += slots[cell * m.copies + copy];
    if (sum != 0) simt::atomic_add(m.counts + cell, sum);
  }
}

void classify(const Classify& p, const Classify::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, p.values.c, [&]<class T, int N>(Pack<T, N>) {
    const Pixels g = pixels_of<N>(p.values);
    simt::launch(classify_kernel<T, N>, g.grid(), g.block(), 0, stream, b.classes,
                 static_cast<const T*>(b.values), p.threshold, g);
  });
}

Matrix matrix_of(const ConfusionMatrix& p, int64_t* counts) {
  constexpr unsigned most_copies = 32;            // a warp's lanes
  constexpr unsigned copied = 4096, most = 8192;  // slots that leave room for 8 blocks, for several
  const auto classes = static_cast<unsigned>(p.classes());
  const unsigned cells = classes * classes;
  unsigned copies = cells <= most ? 1 : 0;
  while (copies > 0 && copies < most_copies && 2 * copies * cells <= copied) copies *= 2;
  return {reinterpret_cast<Count*>(counts), classes, copies};
}

void confusion_matrix(const ConfusionMatrix& p, const ConfusionMatrix::Buffers& b,
                      const Stream& stream) {
  const Matrix m = matrix_of(p, b.counts);
  const size_t shared = size_t{m.classes} * m.classes * m.copies * sizeof(unsigned);
  with_pack(p.dtype, p.values.c, [&]<class T, int N>(Pack<T, N>) {
    const Pixels g = pixels_of<N>(p.values);
    simt::launch(confusion_kernel<T, N>, g.grid(), g.block(), shared, stream, m,
                 static_cast<const T*>(b.values), b.labels, p.threshold, g);
  });
}

void probability_counts(const ProbabilityCounts& p, const ProbabilityCounts::Buffers& b,
                        const Stream& stream) {
  constexpr unsigned most_copies = 16, slots = 2048;  // 16 KiB
  const auto cells = static_cast<unsigned>(p.count());
  unsigned copies = 1;
  while (copies < most_copies && 2 * copies * cells <= slots) copies *= 2;
  const Tallies m{reinterpret_cast<Count*>(b.counts), static_cast<unsigned>(p.classes()), cells,
                  copies, p.threshold};
  with_pack(p.dtype, p.values.c, [&]<class T, int N>(Pack<T, N>) {
    const Pixels g = pixels_of<N>(p.values);
    simt::launch(probability_kernel<T, N>, g.grid(), g.block(), cells * copies * sizeof(Count),
                 stream, m, static_cast<const T*>(b.values), b.labels, g);
  });
}

}  // namespace

void register_classify() {
  add<classify, Classify>(only_storage_types);
  add<confusion_matrix, ConfusionMatrix>(only_storage_types);
  add<probability_counts, ProbabilityCounts>(only_storage_types);
}

}  // namespace unetd::UNETD_GPU
