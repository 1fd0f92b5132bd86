// The matrix product that all convolutions are:
//
//   c[m, n] = sum over k of a[m, k] * b[k, n]    (+ bias of n's channel) (ReLU)
//
// with operands and result seen through the views of matrix_view.h. f32, bf16 or f16 in, sums in
// f32, results of the images' type or f32.
//
// Thread mapping: a block has one tile of c and one slice of k, and strides over it in stages of 64
// bytes per row. Copies run `stages - 1` stages ahead of the sums; blocks of neighbouring numbers
// have the same rows of a, so that these come from the L2 cache from the second on. At the end the
// tile goes through shared memory, and leaves in 16-byte packs where the result's channels fill
// them; or, of several slices, as f32 to the workspace, whence slices.h brings it.
//
//   tile m x n    threads    warp's part    shared memory
//   128 x 128     256        64 x 32        68 KiB (staged result)
//   128 x 64      128        64 x 32        48 KiB (4 stages)
//   128 x 32      128        32 x 32        40 KiB
//   64 x 64       128        32 x 32        32 KiB
//
// Bytes moved: a once per column of tiles, b once per row of tiles, both mostly from L2; c once.
// Each of several slices writes 4 m n bytes and reads them again.
#pragma once

#include "kernels/cuda/accumulator.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/slices.h"

#include <algorithm>
#include <type_traits>

namespace unetd::UNETD_GPU {

// An epilogue: what a block does with its tile (first_m, first_n), which is in shared memory. This
// one stores it; tile_moments.h and tile_norm_grad.h have others.
struct StoreOnly {
  template <class Shape, class P>
  SIMT_DEVICE void take(const P& p, float* staged, uint32_t first_m, uint32_t first_n) const;
  // What is stored of a sum of slices, which no block has as a tile.
  template <class T>
  SIMT_DEVICE T of_slices(T value, int64_t /*offset*/, uint32_t /*channel*/) const {
    return value;
  }
};

template <class A, class B, class Out, class View, class Epilogue = StoreOnly>
struct Product {
  using Type = typename A::Type;
  using LeftOperand = A;
  using RightOperand = B;
  using Result = Out;
  A a;
  B b;
  Out* c;
  View view;
  int64_t m, n, k;
  const float* bias = nullptr;  // per channel of the result's view
  bool relu = false;
  Epilogue epilogue{};
  Slices slices{};  // of the stages of k
  // Set by run_product().
  float* parts = nullptr;  // the results of several slices, m x n each
  uint32_t tiles_n = 0;
  bool packs = false;
};

// The product without bias, ReLU and slices. The views of operands that lie across k are
// transposed.
template <class A, class B, class Out, class View, class Epilogue = StoreOnly>
Product<A, B, Out, View, Epilogue> product(const A& a, const B& b, Out* c, const View& view,
                                           const Epilogue& epilogue = {}) {
  constexpr bool a_along_k = A::order == Order::along_k, b_along_k = B::order == Order::along_k;
  return {.a = a,
          .b = b,
          .c = c,
          .view = view,
          .m = a_along_k ? a.view.rows : a.view.columns,
          .n = b_along_k ? b.view.rows : b.view.columns,
          .k = a_along_k ? a.view.columns : a.view.rows,
          .epilogue = epilogue};
}

inline constexpr int stages = 4;

template <class T, class Shape>
constexpr int product_shared_bytes() {
  const int all_stages = stages * (Shape::m + Shape::n) * stage_bytes_along_k;
  return std::max(all_stages, Shape::staged_bytes);
}

// Blocks that a processor holds at least: threads have 128 registers each, or 168 with f32, whose
// lanes read and keep more.
template <class T, class Shape>
inline constexpr int blocks_per_processor = (sizeof(T) == 4 ? 384 : 512) / Shape::threads;

// --- device --------------------------------------------------------------------------------------

template <class P>
SIMT_DEVICE typename P::Result finished(const P& p, float sum, uint32_t channel) {
  if (p.bias != nullptr) sum += p.bias[channel];
  return from_float<typename P::Result>(p.relu && sum < 0 ? 0.F : sum);  // NaN passes
}

// The tile at (first_m, first_n) from shared memory to c.
template <class Shape, class P>
SIMT_DEVICE void store_tile(const P& p, const float* staged, uint32_t first_m, uint32_t first_n) {
  using Out = typename P::Result;
  constexpr int pack = simt::Pack<Out>::size, packs_per_row = Shape::n / pack;
  for (auto i = static_cast<int>(threadIdx.x); i < Shape::m * packs_per_row; i += Shape::threads) {
    const int at_m = i / packs_per_row, at_n = i % packs_per_row * pack;
    const float* const sums = staged + at_m * Shape::staged_row + at_n;
    const auto row = p.view.row(first_m + at_m);
    if (p.packs) {
      const auto column = p.view.column(first_n + at_n);
      const int64_t offset = p.view.offset(row, column);
      if (offset == outside) continue;
      simt::Pack<Out> values;
      SIMT_UNROLL
      for (int e = 0; e < pack; ++e) {
        values.v[e] = finished(p, sums[e], p.view.channel(column) + e);
      }
      simt::store16(p.c + offset, values);
    } else {
      SIMT_UNROLL
      for (int e = 0; e < pack; ++e) {
        const auto column = p.view.column(first_n + at_n + e);
        const int64_t offset = p.view.offset(row, column);
        if (offset != outside) p.c[offset] = finished(p, sums[e], p.view.channel(column));
      }
    }
  }
}

template <class Shape, class P>
SIMT_DEVICE void StoreOnly::take(const P& p, float* staged, uint32_t first_m,
                                 uint32_t first_n) const {
  store_tile<Shape>(p, staged, first_m, first_n);
}

// The same to the slice's part of the workspace.
template <class Shape, class P>
SIMT_DEVICE void store_part(const P& p, const float* staged, uint32_t first_m, uint32_t first_n) {
  float* const part = p.parts + blockIdx.y * p.m * p.n;
  for (auto i = static_cast<int>(threadIdx.x); i < Shape::m * Shape::n; i += Shape::threads) {
    const int at_m = i / Shape::n, at_n = i % Shape::n;
    if (first_m + at_m >= p.m || first_n + at_n >= p.n) continue;
    part[(first_m + at_m) * p.n + first_n + at_n] = staged[at_m * Shape::staged_row + at_n];
  }
}

// From there to c: an element of the sum of all slices.
template <class P>
struct StoreSum {
  P p;
  Divisor by_n;
  SIMT_DEVICE void operator()(int64_t i, float sum) const {
    const uint32_t row = by_n.quotient(static_cast<uint32_t>(i));
    const auto column = p.view.column(by_n.remainder(static_cast<uint32_t>(i), row));
    const int64_t offset = p.view.offset(p.view.row(row), column);
    if (offset == outside) return;
    const uint32_t channel = p.view.channel(column);
    p.c[offset] = p.epilogue.of_slices(finished(p, sum, channel), offset, channel);
  }
};

// A grid of (tiles, slices).
template <class Shape, bool always_packs, class P>
__global__ void __launch_bounds__(Shape::threads, blocks_per_processor<typename P::Type, Shape>)
    product_kernel(P p) {
  using A = typename P::LeftOperand;
  using B = typename P::RightOperand;
  using T = typename P::Type;
  constexpr auto depth = static_cast<uint32_t>(stage_depth<T>);
  constexpr int a_elements = Shape::m * stage_depth<T>, b_elements = Shape::n * stage_depth<T>;
  auto* const shared = simt::dynamic_shared<T>();
  const auto tile = [&](uint32_t stage) {
    return shared + static_cast<int>(stage % stages) * (a_elements + b_elements);
  };

  const uint32_t first_m = blockIdx.x / p.tiles_n * Shape::m;
  const uint32_t first_n = blockIdx.x % p.tiles_n * Shape::n;
  const TileLoader<A, Shape::m, Shape::threads, always_packs> load_a(p.a, first_m);
  const TileLoader<B, Shape::n, Shape::threads, always_packs> load_b(p.b, first_n);
  const auto all = static_cast<uint32_t>((p.k + depth - 1) / depth);
  const auto per_slice = static_cast<uint32_t>(p.slices.length);
  const uint32_t begin = blockIdx.y * per_slice;
  const uint32_t count = all < begin + per_slice ? all - begin : per_slice;
  // An empty group where there is no stage left: so the number of groups tells which have landed.
  const auto load = [&](uint32_t stage) {
    if (stage < count) {
      load_a.load(tile(stage), (begin + stage) * depth);
      load_b.load(tile(stage) + a_elements, (begin + stage) * depth);
    }
    simt::copy_commit();
  };

  Accumulator<T, Shape, A::order, B::order> sum{};
  for (uint32_t stage = 0; stage < stages - 1; ++stage) load(stage);
  for (uint32_t stage = 0; stage < count; ++stage) {
    simt::copy_wait<stages - 2>();
    __syncthreads();  // this stage is there for all, and all are done with the one before
    load(stage + stages - 1);
    sum.add(tile(stage), tile(stage) + a_elements);
  }

  __syncthreads();
  auto* const staged = reinterpret_cast<float*>(shared);
  sum.put(staged);
  __syncthreads();
  if (p.parts != nullptr) return store_part<Shape>(p, staged, first_m, first_n);
  p.epilogue.template take<Shape>(p, staged, first_m, first_n);
}

// --- host ----------------------------------------------------------------------------------------

template <class Shape>
int64_t tiles(int64_t m, int64_t n) {
  return ceil_div(m, Shape::m) * ceil_div(n, Shape::n);
}

using Tile128x128 = TileShape<128, 128, 2, 4>;
using Tile128x64 = TileShape<128, 64, 2, 2>;
using Tile128x32 = TileShape<128, 32, 4, 1>;
using Tile64x64 = TileShape<64, 64, 2, 2>;

// Calls f(Shape{}, always_packs) with the largest tile that the result fills in both directions and
// that leaves every processor something to do when k is cut into as many as `slices`. Operands that
// do not fill packs have one tile: it is single loads that they wait for.
template <class P, class F>
auto with_tile(const P& p, int64_t slices, F&& f) {
  const auto fits = [&]<class Shape>(Shape) {
    return 2 * p.m > Shape::m && 2 * p.n > Shape::n &&
           tiles<Shape>(p.m, p.n) * slices >= processors;
  };
  if (!p.a.packs || !p.b.packs) return f(Tile64x64{}, std::false_type{});
  if (fits(Tile128x128{})) return f(Tile128x128{}, std::true_type{});
  if (fits(Tile128x64{})) return f(Tile128x64{}, std::true_type{});
  if (p.n <= Tile128x32::n && fits(Tile128x32{})) return f(Tile128x32{}, std::true_type{});
  return f(Tile64x64{}, std::true_type{});
}

// `always_packs` only where both operands may be copied so.
template <class Shape, bool always_packs, class P>
void launch_product(P p, const Stream& stream) {
  p.packs = p.view.run() % simt::Pack<typename P::Result>::size == 0;
  p.tiles_n = static_cast<uint32_t>(ceil_div(p.n, Shape::n));
  const simt::Dim grid{simt::blocks_for(tiles<Shape>(p.m, p.n), 1),
                       static_cast<unsigned>(p.slices.count)};
  simt::launch(product_kernel<Shape, always_packs, P>, grid, simt::Dim{Shape::threads},
               product_shared_bytes<typename P::Type, Shape>(), stream, p);
}

// --- slices

// As many slices as give every processor two tiles, but a whole number for all tiles: the blocks
// beyond would run on their own at the end. Below so many stages a slice costs more than it gains.
template <class P>
Slices slices_of(const P& p) {
  constexpr int64_t blocks_wanted = 2 * processors, least_stages = 8;
  const int64_t all = ceil_div(p.k, stage_depth<typename P::Type>);
  const int64_t most = std::max<int64_t>(1, all / least_stages);
  const int64_t result_tiles =
      with_tile(p, most, [&]<class Shape>(Shape, auto) { return tiles<Shape>(p.m, p.n); });
  return cut(all, blocks_wanted / std::max<int64_t>(1, result_tiles), least_stages);
}

// The same for a product whose result is an image, which slices write and read again in f32: only
// where the smallest tiles leave processors idle.
template <class P>
Slices slices_of_image(const P& p) {
  return tiles<Tile64x64>(p.m, p.n) < processors ? slices_of(p) : Slices{};
}

// Of workspace that run_product() needs.
template <class P>
size_t workspace_of(const P& p) {
  return slices_bytes(p.slices, p.m * p.n);
}

template <class P>
void run_product(P p, void* workspace, const Stream& stream) {
  if (p.m == 0 || p.n == 0) return;
  const bool sliced = p.slices.count > 1;
  if (sliced) p.parts = static_cast<float*>(workspace);
  with_tile(p, p.slices.count, [&]<class Shape, bool packs>(Shape, std::bool_constant<packs>) {
    launch_product<Shape, packs>(p, stream);
  });
  if (!sliced) return;
  add_slices(StoreSum<P>{p, divisor(p.n)}, p.parts, p.m * p.n, p.slices, stream);
}

// The rows of the result in a tile: what an epilogue has at hand at a time.
template <class P>
int64_t tile_rows(const P& p) {
  return with_tile(p, 1, []<class Shape>(Shape, auto) { return int64_t{Shape::m}; });
}

// The kernel of a problem that is one product: ProductOf::make<T>(problem, buffers).
template <class P, class ProductOf>
class ProductKernel final : public Kernel<P> {
 public:
  explicit ProductKernel(const P& p) : problem_(p) {
    with_storage_type(
        p.dtype, [&]<class T>(T) { bytes_ = workspace_of(ProductOf::template make<T>(p, {})); });
  }
  size_t workspace() const override { return bytes_; }
  void run(const typename P::Buffers& b, void* workspace, Stream& stream) const override {
    with_storage_type(problem_.dtype, [&]<class T>(T) {
      run_product(ProductOf::template make<T>(problem_, b), workspace, stream);
    });
  }

 private:
  P problem_;
  size_t bytes_ = 0;
};

}  // namespace unetd::UNETD_GPU
