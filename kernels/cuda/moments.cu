// moments_kernel: threads as tiles of channels (pack.h), reads the image once.
// group_kernel, statistics_kernel: a block joins the chunks of 8 channels, all of them or those of
// a
//   group. Where there are more chunks than blocks of an image's pass, as behind a convolution
//   whose every tile is a chunk, groups come first: so 8 channels are not left to one block.
#include "kernels/cuda/moments.h"

namespace unetd::UNETD_GPU {
namespace {

// Of `size` pixels from x on, `step` elements apart, less the pivot.
template <int size, int N, class T>
SIMT_DEVICE Moments<N> moments_at(const T* x, int64_t step, const Pack<T, N>& pivot) {
  Floats<N> v[size];
  SIMT_UNROLL
  for (int i = 0; i < size; ++i) {
    v[i] = load_floats<N>(x + i * step);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) v[i].v[k] -= to_float(pivot.v[k]);
  }
  return moments_of(v);
}

// Three blocks a processor have bytes enough in flight, and registers enough for packs of eight.
template <class T, int N>
__global__ void __launch_bounds__(block_threads, 3)
    moments_kernel(float* __restrict__ partial, const T* __restrict__ x, Tiles t) {
  constexpr int batch = 4;  // loads in flight
  const Strip s = strip_in<N>(t);
  const int64_t step = t.high * t.channels;
  // The chunk's first pixel.
  const int64_t begin = s.first - threadIdx.y;
  const Pack<T, N> pivot =
      s.inside ? simt::load<N>(x + begin * t.channels + s.channel) : Pack<T, N>{};
  Moments<N> m{};
  int64_t i = s.first;
  for (; i + (batch - 1) * t.high < s.end; i += batch * t.high) {
    m = Chan{}(m, moments_at<batch, N>(x + i * t.channels + s.channel, step, pivot));
  }
  for (; i < s.end; i += t.high) {
    m = Chan{}(m, moments_at<1, N>(x + i * t.channels + s.channel, step, pivot));
  }
  m = join_columns(m, Chan{});
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) m.mean[k] += to_float(pivot.v[k]);
  store_partial(partial, t, s, m.mean, m.squares);
}

// --- joining -------------------------------------------------------------------------------------

struct Joined {
  double count, mean, squares;
};
// The chunks [begin, end) of the thread's channel, for all threads of a block.
SIMT_DEVICE Joined joined_chunks(const float* __restrict__ partial, const Chunks& t, unsigned begin,
                                 unsigned end) {
  const int64_t c = join_channel();
  const bool inside = c < t.channels;
  const auto mean_of = [&](unsigned i) { return double{partial[i * 2 * t.channels + c]}; };
  const auto count_of = [&](unsigned i) {
    const int64_t rest = t.pixels - i * t.chunk;
    return static_cast<double>(rest < t.chunk ? rest : t.chunk);
  };
  const double count = (end - begin - 1) * static_cast<double>(t.chunk) + count_of(end - 1);
  const double mean =
      sum_chunks(begin, end, inside, [&](unsigned i) { return count_of(i) * mean_of(i); }) / count;
  const double squares = sum_chunks(begin, end, inside, [&](unsigned i) {
    const double delta = mean_of(i) - mean;
    return partial[(i * 2 + 1) * t.channels + c] + count_of(i) * delta * delta;
  });
  return {count, mean, squares};
}

// blockIdx.y counts the groups, of `group` chunks each.
__global__ void __launch_bounds__(block_threads)
    group_kernel(float* __restrict__ grouped, const float* __restrict__ partial, unsigned group,
                 Chunks t) {
  const unsigned begin = blockIdx.y * group;
  const Joined joined =
      joined_chunks(partial, t, begin, begin + group < t.chunks ? begin + group : t.chunks);
  const int64_t c = join_channel();
  if (threadIdx.y != 0 || c >= t.channels) return;
  float* const row = grouped + int64_t{blockIdx.y} * 2 * t.channels + c;
  row[0] = static_cast<float>(joined.mean);
  row[t.channels] = static_cast<float>(joined.squares);
}

__global__ void __launch_bounds__(block_threads)
    statistics_kernel(Statistics out, Smoothing smoothing, const float* __restrict__ partial,
                      Chunks t) {
  const Joined joined = joined_chunks(partial, t, 0, t.chunks);
  const int64_t c = join_channel();
  if (threadIdx.y != 0 || c >= t.channels) return;
  store_statistics(out, smoothing, c, joined.count, joined.mean, joined.squares);
}

// Chunks that become one, so that no more are left than one block joins without much ado.
constexpr int64_t most_at_once = 1024, groups_wanted = 256;
unsigned group_of(const Chunks& t) {
  if (t.chunks <= most_at_once) return 1;
  return static_cast<unsigned>((t.chunks + groups_wanted - 1) / groups_wanted);
}
Chunks grouped(const Chunks& t) {
  const unsigned group = group_of(t);
  return {t.pixels, t.channels, t.chunk * group, (t.chunks + group - 1) / group};
}

}  // namespace

void image_moments(float* partial, const void* x, DType dtype, const Tiles& t,
                   const Stream& stream) {
  with_pack(dtype, t.channels, [&]<class T, int N>(Pack<T, N>) {
    simt::launch(moments_kernel<T, N>, t.grid(), t.block(), 0, stream, partial,
                 static_cast<const T*>(x), t);
  });
}

size_t moments_floats(const Chunks& chunks) {
  return chunks.floats() + (group_of(chunks) > 1 ? grouped(chunks).floats() : 0);
}

void join_moments(const Statistics& out, float* partial, const Chunks& chunks,
                  const Smoothing& smoothing, const Stream& stream) {
  Chunks last = chunks;
  if (group_of(chunks) > 1) {
    last = grouped(chunks);
    float* const rows = partial + chunks.floats();
    simt::launch(group_kernel, join_grid(last.channels, last.chunks), join_block(), 0, stream, rows,
                 partial, group_of(chunks), chunks);
    partial = rows;
  }
  simt::launch(statistics_kernel, join_grid(last.channels), join_block(), 0, stream, out, smoothing,
               partial, last);
}

}  // namespace unetd::UNETD_GPU
