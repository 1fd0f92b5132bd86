// The matrix product of the CUDA convolutions, on the emulator: every tile it can choose, in every
// order of its operands and in every element type. Problems small enough for tests/cases would
// choose the smallest tile only.
#include "kernels/cuda/tile_moments.h"
#include "kernels/cuda/tile_norm_grad.h"
#include "tests/simt/emulated.h"
#include "tests/support/compare.h"
#include "tests/support/guarded.h"

#include <algorithm>
#include <cmath>
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
  p.slices = {slices, stages_per_slice};
  if (slices > 1) p.parts = c.data();
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

namespace {

// The slices that are chosen for an image of m x n from sums of length k.
std::string slices_for(int64_t m, int64_t n, int64_t k) {
  const auto a = operand<Order::along_k, bf16>(nullptr, dense(m, k));
  const auto b = operand<Order::along_k, bf16>(nullptr, dense(n, k));
  const Slices s = slices_of_image(product(a, b, static_cast<bf16*>(nullptr), dense(m, n)));
  return s.count == 1 ? "whole" : str(s.count, " of ", s.length);
}

}  // namespace

TEST_CASE("images are cut into slices where tiles leave processors idle", "[simt][unit]") {
  CHECK(slices_for(65536, 64, 576) == "whole");
  CHECK(slices_for(256, 1024, 9216) == "16 of 18");  // of 288 stages; 16 tiles of 128x128
  CHECK(slices_for(1024, 512, 4608) == "8 of 18");
  CHECK(slices_for(256, 1024, 64) == "whole");  // nothing to cut
  CHECK(slices_for(1, 4, 64) == "whole");
}

TEST_CASE("sums are cut into slices that cover them", "[simt][unit]") {
  for (const int64_t length : {0, 1, 7, 8, 15, 16, 17, 1000}) {
    for (const int64_t wanted : {0, 1, 3, 16, 5000}) {
      const Slices s = cut(length, wanted, 8);
      INFO(length << " in " << wanted << ": " << s.count << " of " << s.length);
      CHECK(s.count * s.length >= length);
      CHECK((s.count - 1) * s.length <= std::max<int64_t>(length - 1, 0));
      CHECK(s.count <= std::max<int64_t>(wanted, 1));
      CHECK((s.count == 1 || s.length >= 8));
    }
  }
}

namespace {

// The moments that tiles take of their columns, against those of what they store.
template <class T, class Shape, bool always_packs>
void check_moments(int64_t m, int64_t n, int64_t k) {
  INFO(name_of(dtype_of<T>) << ", tile " << Shape::m << "x" << Shape::n << ", packs "
                            << always_packs);
  const Matrix<T> a = random_matrix<T>(m, k, 1), b = random_matrix<T>(n, k, 2), c(m, n);
  const int64_t chunks = ceil_div(m, Shape::m);
  const Matrix<float> partial(chunks * 2, n), bias = random_matrix<float>(1, n, 3);
  for (int64_t j = 0; j < n; ++j) bias(0, j) += 50;
  auto p = product(operand<Order::along_k, T>(a.data(), a.view),
                   operand<Order::along_k, T>(b.data(), b.view), c.data(), c.view,
                   TileMoments{{}, partial.data()});
  p.bias = bias.data();
  launch_product<Shape, always_packs>(p, Stream{DeviceType::simt});

  const unetd::Shape shape{chunks, 2, 1, n};
  const Tensor got =
      Tensor::from<float>(shape, std::span(partial.data(), static_cast<size_t>(shape.count())));
  Tensor want(shape, DType::f64);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t begin = chunk * Shape::m, end = std::min<int64_t>(m, begin + Shape::m);
      double mean = 0, squares = 0;
      for (int64_t i = begin; i < end; ++i) mean += double{to_float(c(i, j))};
      mean /= static_cast<double>(end - begin);
      for (int64_t i = begin; i < end; ++i)
        squares += std::pow(double{to_float(c(i, j))} - mean, 2);
      want.span<double>()[static_cast<size_t>((chunk * 2) * n + j)] = mean;
      want.span<double>()[static_cast<size_t>((chunk * 2 + 1) * n + j)] = squares;
    }
  }
  CHECK(difference(got, want, tolerance(DType::f32, 1)) == "");
  CHECK(partial.memory.intact());
  CHECK(c.memory.intact());
}

}  // namespace

TEMPLATE_TEST_CASE("tiles take the moments of the rows that exist", "[simt][unit]", float, bf16,
                   f16) {
  in_every_order([] {
    check_moments<TestType, Tile128x128, true>(136, 144, 40);
    check_moments<TestType, Tile128x64, true>(129, 72, 40);
    check_moments<TestType, Tile128x32, true>(256, 40, 40);
    check_moments<TestType, Tile64x64, true>(65, 80, 40);
    check_moments<TestType, Tile64x64, false>(67, 70, 13);
  });
}

namespace {

// What tiles store of a gradient that a batch norm's ReLU cuts, against the same product uncut, and
// the sums that they take of what they store.
template <class T, class Shape, bool always_packs>
void check_norm_grad(int64_t m, int64_t n, int64_t k) {
  INFO(name_of(dtype_of<T>) << ", tile " << Shape::m << "x" << Shape::n << ", packs "
                            << always_packs);
  const Matrix<T> a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2),
                  x = random_matrix<T>(m, n, 3), plain(m, n), cut(m, n);
  const Matrix<float> mean = random_matrix<float>(1, n, 4), gamma = random_matrix<float>(1, n, 5),
                      rstd = random_matrix<float>(1, n, 6), beta = random_matrix<float>(1, n, 7);
  const int64_t chunks = ceil_div(m, Shape::m);
  const Matrix<float> partial(chunks * 2, n);
  const auto run = [&](const Matrix<T>& c, const auto& epilogue) {
    launch_product<Shape, always_packs>(
        product(operand<Order::along_k, T>(a.data(), a.view),
                operand<Order::across_k, T>(b.data(), b.view), c.data(), c.view, epilogue),
        Stream{DeviceType::simt});
  };
  run(plain, StoreOnly{});
  run(cut, TileNormGrad<T>{
               x.data(), {mean.data(), gamma.data(), rstd.data(), beta.data()}, partial.data()});

  const unetd::Shape shape{chunks, 2, 1, n};
  const Tensor got =
      Tensor::from<float>(shape, std::span(partial.data(), static_cast<size_t>(shape.count())));
  Tensor want(shape, DType::f64);
  int64_t wrong = 0, zeros = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const float centred = to_float(x(i, j)) - mean(0, j);
      const bool cuts = centred * (gamma(0, j) * rstd(0, j)) + beta(0, j) <= 0;
      wrong += to_float(cut(i, j)) != (cuts ? 0.F : to_float(plain(i, j)));
      zeros += cuts;
      const auto at = static_cast<size_t>(i / Shape::m * 2 * n + j);
      want.span<double>()[at] += double{to_float(cut(i, j))};
      want.span<double>()[at + static_cast<size_t>(n)] +=
          double{to_float(cut(i, j))} * (double{to_float(x(i, j))} - mean(0, j));
    }
  }
  CHECK(wrong == 0);
  CHECK((zeros > 0 && zeros < m * n));
  CHECK(difference(got, want, tolerance(DType::f32, Shape::m)) == "");
  CHECK((partial.memory.intact() && cut.memory.intact()));
}

}  // namespace

TEMPLATE_TEST_CASE("tiles cut a gradient and sum what they store of it", "[simt][unit]", float,
                   bf16, f16) {
  in_every_order([] {
    check_norm_grad<TestType, Tile128x128, true>(136, 144, 40);
    check_norm_grad<TestType, Tile128x64, true>(129, 72, 40);
    check_norm_grad<TestType, Tile128x32, true>(256, 40, 40);
    check_norm_grad<TestType, Tile64x64, true>(65, 80, 40);
    check_norm_grad<TestType, Tile64x64, false>(67, 70, 13);
  });
}

namespace {

// One number a channel, between red zones.
struct Vector {
  explicit Vector(int64_t channels) : memory(static_cast<size_t>(channels) * sizeof(float)) {}
  float* data() const { return reinterpret_cast<float*>(memory.data()); }
  GuardedBuffer memory;
};

// Random chunks, joined, against the same in double.
void check_join(const Chunks& t) {
  INFO(t.chunks << " chunks of " << t.chunk);
  const Matrix<float> partial(static_cast<int64_t>(moments_floats(t)), 1);
  std::mt19937 random(1);
  for (int64_t i = 0; i < int64_t{t.chunks} * 2 * t.channels; ++i) {
    partial.data()[i] = 7 + static_cast<float>(random() % 1000) / 1000.F;
  }
  const Vector mean(t.channels), rstd(t.channels), running_mean(t.channels),
      running_var(t.channels);
  std::fill_n(running_mean.data(), t.channels, 1.F);
  std::fill_n(running_var.data(), t.channels, 2.F);
  join_moments({mean.data(), rstd.data(), running_mean.data(), running_var.data()}, partial.data(),
               t, {.eps = 1e-3F, .momentum = 0.25F}, Stream{DeviceType::simt});
  CHECK(partial.memory.intact());
  const auto pixels = static_cast<double>(t.pixels);
  for (int64_t c = 0; c < t.channels; ++c) {
    double sum = 0, squares = 0;
    const auto visit = [&](const auto& use) {
      for (int64_t i = 0; i < t.chunks; ++i) {
        const float* const row = partial.data() + i * 2 * t.channels + c;
        use(static_cast<double>(std::min(t.chunk, t.pixels - i * t.chunk)), double{row[0]},
            double{row[t.channels]});
      }
    };
    visit([&](double count, double m, double) { sum += count * m; });
    const double right = sum / pixels;
    visit([&](double count, double m, double s) { squares += s + count * std::pow(m - right, 2); });
    CHECK(mean.data()[c] == Approx(right).epsilon(1e-6));
    CHECK(rstd.data()[c] == Approx(1 / std::sqrt(squares / pixels + 1e-3)).epsilon(1e-6));
    CHECK(running_mean.data()[c] == Approx(0.75 + 0.25 * right).epsilon(1e-6));
    CHECK(running_var.data()[c] == Approx(1.5 + 0.25 * squares / (pixels - 1)).epsilon(1e-6));
  }
}

}  // namespace

TEST_CASE("moments of few and of many chunks are joined", "[simt][unit]") {
  in_every_order([] {
    check_join({.pixels = 5, .channels = 3, .chunk = 64, .chunks = 1});
    check_join({.pixels = 7 * 40 - 1, .channels = 11, .chunk = 7, .chunks = 40});
    check_join({.pixels = 3 * 2000 - 2, .channels = 9, .chunk = 3, .chunks = 2000});
  });
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
