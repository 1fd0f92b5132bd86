// Raw patches made an image: every sample is read once, every element of the image written once;
// 13 bands of u16 to f32 are 26 bytes in and 52 out a pixel, with one byte of validity and one of
// labels in, one of labels out.
//
// Rows of the image are taken as flat sequences of w * c elements. A thread has 16 bytes of the
// image at one place of a row and goes down many rows: its elements' columns, channels and
// constants stay the same and lie in registers. It reads its samples in one access where columns
// run forward, else one by one; the rest of the sectors they lie in is what its neighbours and the
// next rows read, from the caches.
//
// Packs with a curve are a second kernel's, which reads constants where it needs them: in one
// kernel the curve would cost the other packs a third of the processor's threads, in registers.
// Each kernel leaves at once where a pack is not its own.
//
// Labels of u8 are turned by whoever has the first channel of their pixel. Those of f32 have a
// kernel of their own, which spares the others a branch and a second set of forms.
#include "engine/base/pixel_type.h"
#include "engine/op/prepare_patches.h"
#include "kernels/cuda/pack.h"

namespace unetd::UNETD_GPU {
namespace {

// blockIdx.x and threadIdx.x count the packs of a row, blockIdx.y strides over the rows.
struct Strips {
  unsigned packs, rows;
  unsigned threads;

  Dim grid() const {
    const unsigned across = simt::blocks_for(packs, threads);
    return {across, std::min(rows, std::max(static_cast<unsigned>(full_grid) / across, 1U))};
  }
  Dim block() const { return {threads}; }
};
// Throws Error for an image whose rows have 2^31 elements or more, or that has as many rows.
Strips strips_of(const Shape& s, int pack) {
  constexpr int64_t limit = int64_t{1} << 31, warp = simt::warp_size;
  UNETD_CHECK(s.w * s.c < limit && s.n * s.h < limit, "patches of ", s, " in a CUDA kernel");
  const int64_t packs = s.w * s.c / pack;
  // As many warps as leave few threads without a pack in the last block.
  const int64_t blocks = simt::blocks_for(packs, block_threads);
  const int64_t warps = simt::blocks_for(packs, static_cast<unsigned>(blocks * warp));
  return {static_cast<unsigned>(packs), static_cast<unsigned>(s.n * s.h),
          static_cast<unsigned>(warps * warp)};
}

// Where element k of a thread's pack lies in its row.
template <int N>
struct Elements {
  unsigned column[N], channel[N];
  BandLine lines[N];
  bool curved = false;  // one of them at least
};
template <int N>
SIMT_DEVICE Elements<N> elements_at(unsigned first, unsigned channels,
                                    const BandConstants* __restrict__ bands) {
  Elements<N> e;
  unsigned column = first / channels, channel = first % channels;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) {
    e.column[k] = column;
    e.channel[k] = channel;
    e.lines[k] = bands[channel].line;
    e.curved |= bands[channel].slope != 0;
    if (++channel < channels) continue;
    channel = 0;
    ++column;
  }
  return e;
}

template <class X, class Y, int N, bool curved>
__global__ void __launch_bounds__(block_threads)
    prepare_kernel(PreparePatches::Buffers b, Shape s, unsigned packs, unsigned rows) {
  const unsigned pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const X* __restrict__ samples = static_cast<const X*>(b.samples);
  const uint8_t* __restrict__ valid = b.valid;
  const auto* const labels = static_cast<const uint8_t*>(b.labels);
  auto* const turned = static_cast<uint8_t*>(b.turned_labels);
  Y* __restrict__ image = static_cast<Y*>(b.image);
  const unsigned first = pack * N, high = static_cast<unsigned>(s.h);
  const Elements<N> e = elements_at<N>(first, static_cast<unsigned>(s.c), b.bands);
  if (e.curved != curved) return;
  for (unsigned row = blockIdx.y; row < rows; row += gridDim.y) {
    const unsigned n = row / high;
    const PatchDraw draw = b.draws[n];
    const Walk walk = walk_of(draw.symmetry, s.h, s.w);
    const BandDraw* const band_draws = b.band_draws + n * s.c;
    const int64_t line = n * s.h * s.w + walk.start + row % high * walk.row_step;
    Pack<X, N> x;
    if (walk.column_step == 1) {
      x = simt::load<N>(samples + line * s.c + first);
    } else {
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) {
        x.v[k] = samples[(line + e.column[k] * walk.column_step) * s.c + e.channel[k]];
      }
    }
    Floats<N> y;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const int64_t pixel = line + e.column[k] * walk.column_step;
      const bool erased = erases(draw, row % high, e.column[k]);
      const auto sample = static_cast<float>(x.v[k]);
      const float value =
          curved ? normalised(sample, b.bands[e.channel[k]]) : normalised(sample, e.lines[k]);
      const bool blank = erased || valid[pixel] == 0;
      y.v[k] = blank ? 0.F : drawn(value, band_draws[e.channel[k]]);
      if (labels == nullptr || e.channel[k] != 0) continue;
      turned[row * s.w + e.column[k]] = erased ? ignore_label : labels[pixel];
    }
    store_floats(image + row * s.w * s.c + first, y);
  }
}

// A thread has one pixel in each of its rows.
__global__ void __launch_bounds__(block_threads)
    turn_targets_kernel(float* __restrict__ turned, const float* __restrict__ targets,
                        const PatchDraw* __restrict__ draws, Shape s, Rows r) {
  const Place place = place_in<1>(r);
  if (!place.inside) return;
  for (unsigned row = blockIdx.y; row < r.rows; row += gridDim.y) {
    const unsigned n = row / r.high, h = row % r.high;
    const PatchDraw draw = draws[n];
    const Walk walk = walk_of(draw.symmetry, s.h, s.w);
    const int64_t pixel =
        n * s.h * s.w + walk.start + h * walk.row_step + place.column * walk.column_step;
    turned[row * s.w + place.column] = erases(draw, h, place.column) ? no_target : targets[pixel];
  }
}

void turn_targets(const PreparePatches& p, const PreparePatches::Buffers& b, const Stream& stream) {
  const Rows rows = rows_of<1>({p.shape.n, p.shape.h, p.shape.w, 1});
  simt::launch(turn_targets_kernel, rows.grid(), Dim{block_threads}, 0, stream,
               static_cast<float*>(b.turned_labels), static_cast<const float*>(b.labels), b.draws,
               p.shape, rows);
}

void prepare(const PreparePatches& p, PreparePatches::Buffers b, const Stream& stream) {
  if (p.labelled && p.labels == DType::f32) {
    turn_targets(p, b, stream);
    b.labels = nullptr;
  }
  with_pack(p.dtype, p.shape.w * p.shape.c, [&]<class Y, int N>(Pack<Y, N>) {
    with_pixel_type(p.samples, [&]<class X>(X) {
      const Strips strips = strips_of(p.shape, N);
      for (const auto kernel : {prepare_kernel<X, Y, N, false>, prepare_kernel<X, Y, N, true>}) {
        simt::launch(kernel, strips.grid(), strips.block(), 0, stream, b, p.shape, strips.packs,
                     strips.rows);
      }
    });
  });
}

}  // namespace

void register_prepare_patches() { add<prepare, PreparePatches>(only_storage_types); }

}  // namespace unetd::UNETD_GPU
