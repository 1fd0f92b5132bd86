// Bilinear resizing. Forward: reads x and writes y, up to 4 times as much. Backward: reads dy and
// writes dx. What several threads read of the same pixels comes from the caches.
//
// The result is taken in rows, a thread has one pack of channels of one column in a band of rows:
// it looks up its column's taps once, and those of the rows lie in shared memory, computed once a
// block.
#include "engine/op/resize_bilinear.h"
#include "kernels/cuda/pack.h"

namespace unetd::UNETD_GPU {
namespace {

constexpr unsigned band_limit = 8;  // rows of a band

// blockIdx.y strides over the bands.
struct Bands {
  Rows in;
  unsigned size;
  unsigned count() const { return (in.rows + size - 1) / size; }
  Dim grid() const { return {in.grid().x, std::min(count(), max_grid_y)}; }
};
// As high as leaves enough blocks to fill the GPU.
template <int N>
Bands bands_of(const Shape& result) {
  const Rows rows = rows_of<N>(result);
  const int64_t size = int64_t{rows.grid().x} * rows.rows / full_grid;
  return {rows, static_cast<unsigned>(std::clamp<int64_t>(size, 1, band_limit))};
}

// For each band of this block: tabulate(row) makes the table entry of each row, then visit(row,
// entry) is called by the threads that have a pack.
template <class Entry, class Tabulate, class Visit>
SIMT_DEVICE void for_each_row(const Bands& bands, bool inside, const Tabulate& tabulate,
                              const Visit& visit) {
  using Table = Entry[band_limit];
  SIMT_SHARED(Table, table);
  const unsigned rows = bands.in.rows, step = gridDim.y * bands.size;
  for (unsigned first = blockIdx.y * bands.size; first < rows; first += step) {
    const unsigned size = bands.size < rows - first ? bands.size : rows - first;
    __syncthreads();  // the band before this one may still be read
    if (threadIdx.x < size) table[threadIdx.x] = tabulate(first + threadIdx.x);
    __syncthreads();
    for (unsigned i = 0; inside && i < size; ++i) visit(first + i, table[i]);
  }
}

// --- forward -------------------------------------------------------------------------------------

// The two source rows of an output row, counted over all images.
struct RowTap {
  int64_t low, high;
  float t;
};

template <int N>
SIMT_DEVICE Floats<N> mix(const Floats<N>& a, const Floats<N>& b, float t) {
  Floats<N> y;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) y.v[k] = a.v[k] * (1 - t) + b.v[k] * t;
  return y;
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    forward_kernel(T* __restrict__ y, const T* __restrict__ x, const int32_t* __restrict__ origin,
                   ResizeGeometry g, Bands bands) {
  const Place at = place_in<N>(bands.in);
  const ResizeAxis rows = g.rows(origin);
  const LinearTap u = linear_tap(at.column, g.columns(origin));
  const auto t = static_cast<float>(u.t);
  const T* const left = x + u.low * g.x.c + at.channel;
  const T* const right = x + u.high * g.x.c + at.channel;
  const int64_t line = g.x.w * g.x.c;
  const auto tabulate = [&](unsigned row) -> RowTap {
    const LinearTap v = linear_tap(row % bands.in.high, rows);
    const int64_t image = row / bands.in.high * g.x.h;
    return {image + v.low, image + v.high, static_cast<float>(v.t)};
  };
  for_each_row<RowTap>(bands, at.inside, tabulate, [&](unsigned row, const RowTap& v) {
    const auto top =
        mix(load_floats<N>(left + v.low * line), load_floats<N>(right + v.low * line), t);
    const auto below =
        mix(load_floats<N>(left + v.high * line), load_floats<N>(right + v.high * line), t);
    store_floats(y + (int64_t{row} * bands.in.columns + at.column) * g.x.c + at.channel,
                 mix(top, below, v.t));
  });
}

void forward(const ResizeBilinear& p, const ResizeBilinear::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, p.geometry.x.c, [&]<class T, int N>(Pack<T, N>) {
    const Bands bands = bands_of<N>(p.geometry.y());
    simt::launch(forward_kernel<T, N>, bands.grid(), Dim{block_threads}, 0, stream,
                 static_cast<T*>(b.y), static_cast<const T*>(b.x), b.origin, p.geometry, bands);
  });
}

// --- backward ------------------------------------------------------------------------------------

// Of a multiprocessor, for the registers of which the compiler spills nothing to fit in more.
constexpr unsigned resident_blocks = 5;

// The outputs that may read a source element of a line. Where they do not exist or do not read it
// their weight is 0.
constexpr int readers = resize_readers;
struct Readers {
  int64_t first;
  float weight[readers];
};
SIMT_DEVICE Readers readers_of(int64_t s, const ResizeAxis& axis) {
  Readers r{first_reader(s, axis), {}};
  for (int k = 0; k < readers; ++k) {
    const int64_t i = r.first + k;
    if (i >= axis.out) continue;
    const LinearTap tap = linear_tap(i, axis);
    const double weight = (tap.low == s ? 1 - tap.t : 0) + (tap.high == s ? tap.t : 0);
    r.weight[k] = static_cast<float>(weight);
  }
  return r;
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads, resident_blocks)
    backward_kernel(T* __restrict__ dx, const T* __restrict__ dy, ResizeAxis rows,
                    ResizeAxis columns, int64_t channels, Bands bands) {
  const Place at = place_in<N>(bands.in);
  const Readers u = readers_of(at.column, columns);
  const int64_t line = columns.out * channels;
  const T* const first = dy + u.first * channels + at.channel;
  const auto tabulate = [&](unsigned row) {
    Readers v = readers_of(row % bands.in.high, rows);
    v.first += int64_t{row / bands.in.high} * rows.out;
    return v;
  };
  for_each_row<Readers>(bands, at.inside, tabulate, [&](unsigned row, const Readers& v) {
    Floats<N> sum{};
    const T* from = first + v.first * line;
    for (int i = 0; i < readers; ++i, from += line) {
      const float in_row = v.weight[i];
      if (in_row == 0) continue;
      SIMT_UNROLL
      for (int j = 0; j < readers; ++j) {
        if (u.weight[j] == 0) continue;
        const float weight = in_row * u.weight[j];
        const Floats<N> part = load_floats<N>(from + j * channels);
        SIMT_UNROLL
        for (int k = 0; k < N; ++k) sum.v[k] += weight * part.v[k];
      }
    }
    store_floats(dx + (int64_t{row} * bands.in.columns + at.column) * channels + at.channel, sum);
  });
}

void backward(const ResizeBilinearGrad& p, const ResizeBilinearGrad::Buffers& b,
              const Stream& stream) {
  with_pack(p.dtype, p.geometry.x.c, [&]<class T, int N>(Pack<T, N>) {
    const Bands bands = bands_of<N>(p.geometry.x);
    simt::launch(backward_kernel<T, N>, bands.grid(), Dim{block_threads}, 0, stream,
                 static_cast<T*>(b.dx), static_cast<const T*>(b.dy), p.geometry.rows(),
                 p.geometry.columns(), p.geometry.x.c, bands);
  });
}

const char* reject_grad(const ResizeBilinearGrad& p) {
  return p.geometry.windowed() ? "gradient of a window" : only_storage_types(p);
}

}  // namespace

void register_resize_bilinear() {
  add<forward, ResizeBilinear>(only_storage_types);
  add<backward, ResizeBilinearGrad>(reject_grad);
}

}  // namespace unetd::UNETD_GPU
