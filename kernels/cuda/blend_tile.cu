// Weighted sums of tiles. The tile is read once, the band under it read and written once. A thread
// has one pack of channels, 16 bytes of the sums where the channels fill such packs, of one pixel
// in each of its rows of the band; neighbouring threads have neighbouring packs of the band, and of
// the tile unless it was transposed.
#include "engine/op/blend_tile.h"
#include "kernels/cuda/pack.h"

namespace unetd::UNETD_GPU {
namespace {

struct BlendBuffers {
  const float* weights;
  const TilePlace* place;
  float* sums;
};

// `r` has the rows and columns of the tile turned back, or more where it is not square.
template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    blend_kernel(BlendBuffers b, const T* __restrict__ values, BlendTile p, Rows r) {
  const Place at = place_in<N>(r);
  const TilePlace to = *b.place;
  const Shape s = p.values;
  const bool mirror_rows = (to.symmetry & symmetry::rows) != 0,
             mirror_columns = (to.symmetry & symmetry::columns) != 0,
             transposed = (to.symmetry & symmetry::transpose) != 0;
  const int64_t height = transposed ? s.w : s.h, width = transposed ? s.h : s.w;
  if (!at.inside || at.column >= width) return;
  const float across = b.weights[r.columns + at.column];
  for (unsigned row = blockIdx.y; row < r.rows; row += gridDim.y) {
    const int64_t n = row / r.high, y = row % r.high;
    const float weight = y < height ? b.weights[y] * across : 0.F;
    if (weight == 0) continue;
    const int64_t down = transposed ? at.column : y, along = transposed ? y : at.column;
    const int64_t h = mirror_rows ? s.h - 1 - down : down,
                  w = mirror_columns ? s.w - 1 - along : along;
    const Floats<N> v = load_floats<N>(values + ((n * s.h + h) * s.w + w) * s.c + at.channel);
    const int64_t pixel = (n * p.rows + (to.row + y) % p.rows) * p.columns + to.column + at.column;
    float* const sums = b.sums + pixel * s.c + at.channel;
    Floats<N> sum = load_floats<N>(sums);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) sum.v[k] += weight * v.v[k];
    store_floats(sums, sum);
  }
}

void blend_tile(const BlendTile& p, const BlendTile::Buffers& b, const Stream& stream) {
  const BlendBuffers buffers{b.weights, b.place, static_cast<float*>(b.sums)};
  const auto launch = [&]<class T, int N>(Pack<T, N>) {
    const Rows r = rows_of<N>({p.values.n, p.side(), p.side(), p.values.c});
    simt::launch(blend_kernel<T, N>, r.grid(), Dim{block_threads}, 0, stream, buffers,
                 static_cast<const T*>(b.values), p, r);
  };
  // Packs of the sums, which are wider than 16-bit values.
  with_storage_type(p.dtype, [&]<class T>(T) {
    if (pack_size(DType::f32, p.values.c) == 1) return launch(Pack<T, 1>{});
    launch(Pack<T, 4>{});
  });
}

}  // namespace

void register_blend_tile() { add<blend_tile, BlendTile>(only_storage_types); }

}  // namespace unetd::UNETD_GPU
