// Batch normalisation, ReLU and max-pooling. Per window of 2x2 pixels, in elements: forward 4 in, 5
// out. Backward: one pass for the two sums, one for dx, each 4 of x, 4 of dy_skip and 1 of dpooled
// in, the second one 4 out.
//
// The windows cover the image, the last ones of odd sides are cut. They are taken in tiles of
// channels, as pixels are in batch_norm.cu: a thread has one pack of channels of many windows and
// keeps its channels' parameters. The backward passes compute y, and with it mask and maximum,
// again.
#include "engine/op/batch_norm_pool.h"
#include "kernels/cuda/batch_norm.h"

namespace unetd::UNETD_GPU {
namespace {

// Channels that a thread takes at once, in 16-bit types as well: with eight a window of x, its
// gradient and the parameters would take the registers of two threads.
constexpr int window_pack = 4;
template <class F>
void with_window_pack(DType dtype, int64_t channels, F&& f) {
  with_storage_type(dtype, [&]<class T>(T) {
    if (channels % window_pack != 0) return f(Pack<T, 1>{});
    f(Pack<T, window_pack>{});
  });
}

struct Windows {
  Tiles tiles;           // of windows in place of pixels
  unsigned high, wide;   // of an image, in windows
  int64_t h, w;          // the same in pixels
  int64_t right, below;  // elements from a pixel to its neighbours

  // From the first pixel of a window to the others, which are counted in rows.
  SIMT_DEVICE int64_t offset(int tap) const {
    return (tap % 2 == 0 ? 0 : right) + (tap / 2 == 0 ? 0 : below);
  }
};
template <class P>
Windows windows_of(const P& p) {
  constexpr int64_t limit = int64_t{1} << 31;
  const Shape& s = p.shape;
  const int64_t high = (s.h + 1) / 2, wide = (s.w + 1) / 2, count = s.n * high * wide;
  UNETD_CHECK(count < limit, "image of ", s, " in a CUDA kernel");
  return {.tiles = tiles_of(count, s.c, s.c % window_pack == 0 ? window_pack : 1),
          .high = static_cast<unsigned>(high),
          .wide = static_cast<unsigned>(wide),
          .h = s.h,
          .w = s.w,
          .right = s.c,
          .below = s.w * s.c};
}

// Where a thread's channels lie.
struct Window {
  int64_t first, pooled;  // elements
  bool has_right, has_below;

  SIMT_DEVICE bool whole() const { return has_right && has_below; }
  SIMT_DEVICE bool has(int tap) const {
    return (has_right || tap % 2 == 0) && (has_below || tap / 2 == 0);
  }
};
SIMT_DEVICE Window window_at(const Windows& all, int64_t index, int64_t channel) {
  const auto i = static_cast<unsigned>(index);
  const unsigned row = i / all.wide, image = row / all.high;
  const int64_t column = i % all.wide, line = row % all.high;
  const int64_t pixel = (image * all.h + 2 * line) * all.w + 2 * column;
  const int64_t pooled = (image * (all.h / 2) + line) * (all.w / 2) + column;
  return {pixel * all.right + channel, pooled * all.right + channel, 2 * column + 1 < all.w,
          2 * line + 1 < all.h};
}

// The pixels of a window; zeros for those that it lacks.
template <int N>
struct Quad {
  Floats<N> tap[4];
};
template <int N, class T>
SIMT_DEVICE Quad<N> load_quad(const T* image, const Windows& all, const Window& window) {
  Quad<N> quad{};
  SIMT_UNROLL
  for (int tap = 0; tap < 4; ++tap) {
    if (window.has(tap)) quad.tap[tap] = load_floats<N>(image + window.first + all.offset(tap));
  }
  return quad;
}
template <class T, int N>
SIMT_DEVICE void store_quad(T* image, const Windows& all, const Window& window,
                            const Quad<N>& quad) {
  SIMT_UNROLL
  for (int tap = 0; tap < 4; ++tap) {
    if (window.has(tap)) store_floats(image + window.first + all.offset(tap), quad.tap[tap]);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    apply_pool_kernel(T* __restrict__ y, T* __restrict__ pooled, const T* __restrict__ x,
                      Parameters p, Windows windows) {
  const Strip s = strip_in<N>(windows.tiles);
  if (!s.inside) return;
  const auto affine = load_affine<N>(p, s.channel);
  for (int64_t i = s.first; i < s.end; i += windows.tiles.high) {
    const Window window = window_at(windows, i, s.channel);
    Quad<N> v = load_quad<N>(x, windows, window);
    Floats<N> most;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      SIMT_UNROLL
      for (int tap = 0; tap < 4; ++tap) {
        float& value = v.tap[tap].v[k];
        value = affine(value, k);
        if (value < 0) value = 0;
        if (tap == 0 || exceeds(value, most.v[k])) most.v[k] = value;
      }
    }
    store_quad(y, windows, window, v);
    if (window.whole()) store_floats(pooled + window.pooled, most);
  }
}

void apply_pool(const BatchNormApplyPool& p, const BatchNormApplyPool::Buffers& b,
                const Stream& stream) {
  with_window_pack(p.dtype, p.shape.c, [&]<class T, int N>(Pack<T, N>) {
    const Windows windows = windows_of(p);
    simt::launch(apply_pool_kernel<T, N>, windows.tiles.grid(), windows.tiles.block(), 0, stream,
                 static_cast<T*>(b.y), static_cast<T*>(b.pooled), static_cast<const T*>(b.x),
                 parameters_of(b), windows);
  });
}

// --- gradient ------------------------------------------------------------------------------------

// Blocks that a multiprocessor must be able to hold. With more the assembler would spill registers;
// two have enough loads on their way.
constexpr unsigned gradient_blocks = 2;

// The gradient of y in a window of x, where the ReLU let it pass.
template <int N, class T>
SIMT_DEVICE Quad<N> masked_gradient(const T* dy_skip, const T* dpooled, const Affine<N>& affine,
                                    const Quad<N>& x, const Windows& all, const Window& window) {
  Quad<N> g = load_quad<N>(dy_skip, all, window);
  Floats<N> pooled{};
  if (window.whole()) pooled = load_floats<N>(dpooled + window.pooled);
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) {
    float y[4], most = 0;
    int place = 0;
    SIMT_UNROLL
    for (int tap = 0; tap < 4; ++tap) {
      y[tap] = affine(x.tap[tap].v[k], k);
      if (tap > 0 && !exceeds(y[tap], most)) continue;
      most = y[tap];
      place = tap;
    }
    SIMT_UNROLL
    for (int tap = 0; tap < 4; ++tap) {
      float& d = g.tap[tap].v[k];
      if (tap == place) d += pooled.v[k];
      if (y[tap] <= 0) d = 0;
    }
  }
  return g;
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads, gradient_blocks)
    sums_kernel(float* __restrict__ partial, const T* __restrict__ x, const T* __restrict__ dy_skip,
                const T* __restrict__ dpooled, Parameters p, Windows windows) {
  const Strip s = strip_in<N>(windows.tiles);
  Sums<N> sums{};
  if (s.inside) {
    const auto affine = load_affine<N>(p, s.channel);
    for (int64_t i = s.first; i < s.end; i += windows.tiles.high) {
      const Window window = window_at(windows, i, s.channel);
      const Quad<N> v = load_quad<N>(x, windows, window),
                    g = masked_gradient<N>(dy_skip, dpooled, affine, v, windows, window);
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) {
        SIMT_UNROLL
        for (int tap = 0; tap < 4; ++tap) sums.add(affine, v.tap[tap].v[k], g.tap[tap].v[k], k);
      }
    }
  }
  sums = join_columns(sums, AddSums{});
  store_partial(partial, windows.tiles, s, sums.plain, sums.weighted);
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads, gradient_blocks)
    gradient_kernel(T* __restrict__ dx, const T* __restrict__ x, const T* __restrict__ dy_skip,
                    const T* __restrict__ dpooled, Parameters p, Coefficients coefficients,
                    Windows windows) {
  const Strip s = strip_in<N>(windows.tiles);
  if (!s.inside) return;
  const auto affine = load_affine<N>(p, s.channel);
  const auto slope = load_slope<N>(coefficients, s.channel);
  for (int64_t i = s.first; i < s.end; i += windows.tiles.high) {
    const Window window = window_at(windows, i, s.channel);
    const Quad<N> v = load_quad<N>(x, windows, window);
    Quad<N> g = masked_gradient<N>(dy_skip, dpooled, affine, v, windows, window);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      SIMT_UNROLL
      for (int tap = 0; tap < 4; ++tap) {
        g.tap[tap].v[k] = slope(affine, v.tap[tap].v[k], g.tap[tap].v[k], k);
      }
    }
    store_quad(dx, windows, window, g);
  }
}

struct PoolGradKernel final : Kernel<BatchNormPoolGrad> {
  explicit PoolGradKernel(const BatchNormPoolGrad& p) : p_(p), windows_(windows_of(p)) {}
  size_t workspace() const override { return gradient_workspace(chunks_of(windows_.tiles)); }
  void run(const BatchNormPoolGrad::Buffers& b, void* workspace, Stream& stream) const override {
    const Tiles& t = windows_.tiles;
    const GradientVectors v = gradient_vectors(b, workspace, chunks_of(t));
    with_window_pack(p_.dtype, p_.shape.c, [&]<class T, int N>(Pack<T, N>) {
      const T* const x = static_cast<const T*>(b.x);
      const T* const dy_skip = static_cast<const T*>(b.dy_skip);
      const T* const dpooled = static_cast<const T*>(b.dpooled);
      simt::launch(sums_kernel<T, N>, t.grid(), t.block(), 0, stream, v.partial, x, dy_skip,
                   dpooled, v.parameters, windows_);
      join_gradient(v, p_.shape.pixels(), chunks_of(t), stream);
      simt::launch(gradient_kernel<T, N>, t.grid(), t.block(), 0, stream, static_cast<T*>(b.dx), x,
                   dy_skip, dpooled, v.parameters, v.coefficients, windows_);
    });
  }

 private:
  BatchNormPoolGrad p_;
  Windows windows_;
};

}  // namespace

void register_batch_norm_pool() {
  add<apply_pool, BatchNormApplyPool>(only_storage_types);
  add<PoolGradKernel, BatchNormPoolGrad>(only_storage_types);
}

}  // namespace unetd::UNETD_GPU
