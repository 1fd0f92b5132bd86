// Weight gradients: (output channels) x (pixels of y) times (pixels of y) x (taps, channels), both
// operands read across the common dimension. That dimension is long and the result small: pixels
// are cut into slices until every processor has work, each slice has its own f32 result in the
// workspace, and a second kernel adds them in order. So there are no atomics, and the same inputs
// give the same bits. A transposed convolution changes x and dy.
//
// product: threads, tiles, shared memory and bytes as in matrix_product.h; with slices it writes
//          `slices` times dw.
// sum_slices: a thread per element of dw (or dbias), reads `slices` floats and writes one.
// column_sums: dbias in chunks of pixels. 256 threads are `wide` columns (at most 32) by 256 / wide
//          pixels; 1 KiB of shared memory for the tree over the latter; reads dy once.
#include "engine/op/conv2d.h"
#include "engine/op/conv_transpose2x2.h"
#include "kernels/cuda/matrix_product.h"

#include <bit>

namespace unetd::UNETD_GPU {
namespace {

constexpr unsigned threads = 256;
constexpr int64_t max_wide = 32;
constexpr int64_t blocks_wanted = 2 * processors;
// Below these a slice, or a chunk, costs more than it gains.
constexpr int64_t min_stages_per_slice = 8, min_pixels_per_chunk = 256;

__global__ void __launch_bounds__(threads)
    sum_slices(float* __restrict__ sums, const float* __restrict__ slices, int64_t count,
               int64_t slice_count) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= count) return;
  float sum = 0;
  for (int64_t slice = 0; slice < slice_count; ++slice) sum += slices[slice * count + i];
  sums[i] = sum;
}

// Block (x, y) sums chunk y of the rows of an image's matrix for `wide` columns from x * wide.
template <class T>
__global__ void __launch_bounds__(threads)
    column_sums(float* __restrict__ sums, const T* __restrict__ image, DenseView view,
                int64_t rows_per_chunk, unsigned wide) {
  using Parts = float[threads];
  SIMT_SHARED(Parts, parts);
  const unsigned high = threads / wide, line = threadIdx.x / wide;
  const int64_t column = int64_t{blockIdx.x} * wide + threadIdx.x % wide;
  const int64_t begin = blockIdx.y * rows_per_chunk, end = begin + rows_per_chunk;
  float sum = 0;
  if (column < view.columns) {
    for (int64_t row = begin + line; row < end && row < view.rows; row += high) {
      sum += to_float(image[row * view.columns + column]);
    }
  }
  parts[threadIdx.x] = sum;
  for (unsigned half = high / 2; half > 0; half /= 2) {
    __syncthreads();
    if (line < half) parts[threadIdx.x] += parts[threadIdx.x + half * wide];
  }
  if (line == 0 && column < view.columns) {
    sums[blockIdx.y * view.columns + column] = parts[threadIdx.x];
  }
}

// --- the two problems
// ------------------------------------------------------------------------------

ConvGeometry plain(const ConvGeometry& g) { return g; }
ConvGeometry plain(const UpConvGeometry& g) { return mirrored(g); }

template <class T>
auto weight_product(const Conv2dWeightGrad& p, const Conv2dWeightGrad::Buffers& b) {
  const ConvGeometry& g = p.geometry;
  const PatchView x = patches(g);
  return product(operand<Order::across_k, T>(b.dy, dense(x.rows, g.k)),
                 operand<Order::across_k, T>(b.x, x), static_cast<float*>(b.dw),
                 dense(g.k, x.columns));
}

template <class T>
auto weight_product(const ConvTranspose2x2WeightGrad& p,
                    const ConvTranspose2x2WeightGrad::Buffers& b) {
  const UpConvGeometry& g = p.geometry;
  return product(operand<Order::across_k, T>(b.dy, patches(g)),
                 operand<Order::across_k, T>(b.x, dense(g.x.pixels(), g.x.c)),
                 static_cast<float*>(b.dw), taps(g));
}

// As many slices as give every processor two tiles.
template <class P>
Slices slices_of(const P& product) {
  using T = typename P::Type;
  const int64_t all = ceil_div(product.k, stage_depth<T>);
  const int64_t most = std::max<int64_t>(1, all / min_stages_per_slice);
  const int64_t result_tiles = with_tile(
      product, most, [&]<class Shape>(Shape, auto) { return tiles<Shape>(product.m, product.n); });
  const int64_t wanted = std::clamp(ceil_div(blocks_wanted, result_tiles), int64_t{1}, most);
  const int64_t stages_per_slice = std::max<int64_t>(1, ceil_div(all, wanted));
  return {.count = std::max<int64_t>(1, ceil_div(all, stages_per_slice)),
          .stages_per_slice = stages_per_slice,
          .slice_stride = product.m * product.n};
}

// The same for the column sums: their chunks are slices of single rows.
Slices chunks_of(const DenseView& dy) {
  const int64_t most = std::max<int64_t>(1, dy.rows / min_pixels_per_chunk);
  const int64_t rows = ceil_div(std::max<int64_t>(1, dy.rows), std::min(most, blocks_wanted));
  return {.count = std::max<int64_t>(1, ceil_div(dy.rows, rows)),
          .stages_per_slice = rows,
          .slice_stride = dy.columns};
}

// Floats of workspace. One slice is the result itself.
int64_t floats(const Slices& s) { return s.count > 1 ? s.count * s.slice_stride : 0; }

void add_slices(float* sums, const float* parts, const Slices& s, const Stream& stream) {
  if (s.count == 1) return;
  simt::launch(sum_slices, simt::Dim{simt::blocks_for(s.slice_stride, threads)}, simt::Dim{threads},
               0, stream, sums, parts, s.slice_stride, s.count);
}

template <class P>
class WeightGrad final : public Kernel<P> {
 public:
  explicit WeightGrad(const P& p) : problem_(p) {
    with_storage_type(p.dtype, [&]<class T>(T) { slices_ = slices_of(weight_product<T>(p, {})); });
  }

  size_t workspace() const override {
    return static_cast<size_t>(floats(slices_) + (problem_.bias ? floats(chunks_) : 0)) *
           sizeof(float);
  }

  void run(const typename P::Buffers& b, void* workspace, Stream& stream) const override {
    auto* const parts = static_cast<float*>(workspace);
    with_storage_type(problem_.dtype, [&]<class T>(T) {
      auto dw = weight_product<T>(problem_, b);
      dw.slices = slices_;
      if (slices_.count > 1) dw.c = parts;
      run_product(dw, stream);
      add_slices(static_cast<float*>(b.dw), parts, slices_, stream);
      if (problem_.bias) {
        sum_columns(static_cast<float*>(b.dbias), static_cast<const T*>(b.dy),
                    parts + floats(slices_), stream);
      }
    });
  }

 private:
  template <class T>
  void sum_columns(float* dbias, const T* dy, float* parts, const Stream& stream) const {
    const auto wide = static_cast<unsigned>(
        std::bit_ceil(static_cast<uint64_t>(std::min(dy_.columns, max_wide))));
    const simt::Dim grid{simt::blocks_for(dy_.columns, wide), static_cast<unsigned>(chunks_.count)};
    simt::launch(column_sums<T>, grid, simt::Dim{threads}, 0, stream,
                 chunks_.count > 1 ? parts : dbias, dy, dy_, chunks_.stages_per_slice, wide);
    add_slices(dbias, parts, chunks_, stream);
  }

  P problem_;
  DenseView dy_ = dense(problem_.geometry.y().pixels(), problem_.geometry.k);
  Slices slices_, chunks_ = chunks_of(dy_);
};

template <class P>
const char* reject(const P& p) {
  return reject_convolution(p.dtype, plain(p.geometry));
}

}  // namespace

void register_conv2d_weight_grad() {
  add_kernel<Conv2dWeightGrad, WeightGrad<Conv2dWeightGrad>>(simt::device, "cuda", reject);
  add_kernel<ConvTranspose2x2WeightGrad, WeightGrad<ConvTranspose2x2WeightGrad>>(simt::device,
                                                                                 "cuda", reject);
}

}  // namespace unetd::UNETD_GPU
