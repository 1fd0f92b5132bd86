// The matrix product of the CUDA convolutions, on the emulator: every tile it can choose, in every
// order of its operands and in every element type. Problems small enough for tests/cases would
// choose the smallest tile only.
#include "kernels/cuda/matrix_product.h"
#include "tests/simt/emulated.h"
#include "tests/support/compare.h"
#include "tests/support/guarded.h"

#include <random>
#include <span>

#include <catch2/catch.hpp>

namespace unetd::simt_emu {
namespace {

template <class T>
struct Matrix {
  Matrix(int64_t rows, int64_t columns)
      : view(dense(rows, columns)), memory(static_cast<size_t>(rows * columns) * sizeof(T)) {}
  T* data() const { return reinterpret_cast<T*>(memory.data()); }
  T& operator()(int64_t i, int64_t j) const { return data()[i * view.columns + j]; }
  DenseView view;
  GuardedBuffer memory;
};

template <class T>
Matrix<T> random_matrix(int64_t rows, int64_t columns, unsigned seed) {
  Matrix<T> m(rows, columns);
  std::mt19937 random(seed);
  for (int64_t i = 0; i < rows * columns; ++i) {
    m.data()[i] = from_float<T>(static_cast<float>(random() % 2001) / 1000.F - 1.F);
  }
  return m;
}

// The sum over slices of a product of this tile, against plain loops.
template <class T, class Shape, bool always_packs, Order a_order, Order b_order>
void check_product(int64_t m, int64_t n, int64_t k, int64_t stages_per_slice) {
  constexpr bool a_along = a_order == Order::along_k, b_along = b_order == Order::along_k;
  const Matrix<T> a = random_matrix<T>(a_along ? m : k, a_along ? k : m, 1);
  const Matrix<T> b = random_matrix<T>(b_along ? n : k, b_along ? k : n, 2);
  const int64_t slices = ceil_div(k, stages_per_slice * stage_depth<T>);
  const Matrix<float> c(slices * m, n);
  auto p = product(operand<a_order, T>(a.data(), a.view), operand<b_order, T>(b.data(), b.view),
                   c.data(), dense(m, n));
  p.slices = {slices, stages_per_slice, m * n};
  launch_product<Shape, always_packs>(p, Stream{DeviceType::simt});

  Tensor got({m, 1, 1, n}, DType::f32), want({m, 1, 1, n}, DType::f64);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0, exact = 0;
      for (int64_t slice = 0; slice < slices; ++slice) sum += c(slice * m + i, j);
      for (int64_t q = 0; q < k; ++q) {
        exact += double{to_float(a_along ? a(i, q) : a(q, i))} *
                 double{to_float(b_along ? b(j, q) : b(q, j))};
      }
      got.span<float>()[static_cast<size_t>(i * n + j)] = static_cast<float>(sum);
      want.span<double>()[static_cast<size_t>(i * n + j)] = exact;
    }
  }
  CHECK(difference(got, want, tolerance(DType::f32, k)) == "");
  CHECK(c.memory.intact());
}

// More than one tile in both directions, the last of them cut; the last stage is cut, too.
template <class T, class Shape, bool always_packs>
void check_orders(int64_t m, int64_t n, int64_t k) {
  INFO(name_of(dtype_of<T>) << ", tile " << Shape::m << "x" << Shape::n << ", packs "
                            << always_packs);
  using enum Order;
  constexpr int64_t one_slice = 1000;
  check_product<T, Shape, always_packs, along_k, along_k>(m, n, k, one_slice);
  check_product<T, Shape, always_packs, along_k, across_k>(m, n, k, one_slice);
  check_product<T, Shape, always_packs, across_k, along_k>(m, n, k, one_slice);
  check_product<T, Shape, always_packs, across_k, across_k>(m, n, k, 2);
}

}  // namespace

TEMPLATE_TEST_CASE("matrix products are right in every tile and order", "[simt][unit]", float, bf16,
                   f16) {
  in_every_order([] {
    check_orders<TestType, Tile128x128, true>(136, 144, 72);
    check_orders<TestType, Tile128x64, true>(136, 72, 168);
    check_orders<TestType, Tile128x32, true>(136, 40, 72);
    check_orders<TestType, Tile64x64, true>(72, 80, 104);
    check_orders<TestType, Tile64x64, false>(67, 70, 101);
  });
}

namespace {

// The tile that is chosen for a product of whole packs.
std::string tile_for(int64_t m, int64_t n, int64_t slices = 1) {
  const auto a = operand<Order::along_k, bf16>(nullptr, dense(m, 64));
  const auto b = operand<Order::along_k, bf16>(nullptr, dense(n, 64));
  return with_tile(product(a, b, static_cast<bf16*>(nullptr), dense(m, n)), slices,
                   []<class Shape>(Shape, auto) { return str(Shape::m, 'x', Shape::n); });
}

}  // namespace

TEST_CASE("tiles are as large as the result and the card allow", "[simt][unit]") {
  CHECK(tile_for(65536, 128) == "128x128");
  CHECK(tile_for(65536, 64) == "128x64");
  CHECK(tile_for(65536, 32) == "128x32");
  CHECK(tile_for(4096, 512) == "128x64");  // 128 larger ones would leave processors idle
  CHECK(tile_for(128, 576, 100) == "128x128");
  CHECK(tile_for(256, 1024) == "64x64");
}

TEST_CASE("divisions by multiplication are exact", "[simt][unit]") {
  std::mt19937 random(1);
  constexpr uint32_t end = 0x80000000U;
  for (const uint32_t d :
       {1U, 2U, 3U, 7U, 13U, 64U, 65535U, 65537U, 0x3fffffffU, 0x40000001U, end - 1}) {
    const Divisor by = divisor(d);
    bool right = true;
    const auto check = [&](uint32_t n) {
      const uint32_t q = by.quotient(n);
      right = right && q == n / d && by.remainder(n, q) == n % d;
    };
    for (int i = 0; i < 10000; ++i) check(static_cast<uint32_t>(random()) % end);
    for (const uint64_t near : {uint64_t{d}, uint64_t{d} * 2, uint64_t{end} / d * d}) {
      for (uint64_t n = near - 1; n <= near + 1; ++n) {
        if (n < end) check(static_cast<uint32_t>(n));
      }
    }
    CHECK(right);
  }
}

}  // namespace unetd::simt_emu
