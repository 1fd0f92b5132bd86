// The SIMT emulator does what CUDA documents: each kernel here is right, and is compared with plain
// host code in several lane orders. Kernels that are wrong are in test_simt_bugs.cpp.
#include "tests/simt/emulated.h"

#include <array>
#include <numeric>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

using simt::launch;

// --- launch
// ----------------------------------------------------------------------------------------

__global__ void count_visits(int* visits, unsigned* volume) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  ++visits[block * threads + thread];
  if (block + thread == 0) *volume = gridDim.x * gridDim.y * gridDim.z * threads;
}

TEST_CASE("every thread of a three-dimensional launch runs once", "[simt][unit]") {
  in_every_order([] {
    constexpr size_t total = size_t{2} * 3 * 4 * 5 * 3 * 2;
    std::vector<int> visits(total);
    unsigned volume = 0;
    launch(count_visits, {2, 3, 4}, {5, 3, 2}, 0, {}, visits.data(), &volume);
    CHECK(visits == std::vector<int>(total, 1));
    CHECK(volume == total);
  });
}

TEST_CASE("launches that CUDA refuses are refused", "[simt][unit]") {
  int visits = 0;
  unsigned volume = 0;
  const auto refused = [&](simt::Dim grid, simt::Dim block, size_t dynamic_bytes) {
    return error_of(
        [&] { launch(count_visits, grid, block, dynamic_bytes, {}, &visits, &volume); });
  };
  CHECK_THAT(refused({1}, {1025}, 0), Catch::Contains("no block of (1025,1,1)"));
  CHECK_THAT(refused({1}, {0}, 0), Catch::Contains("no block of (0,1,1)"));
  CHECK_THAT(refused({1, 65536}, {1}, 0), Catch::Contains("no grid of (1,65536,1)"));
  CHECK_THAT(refused({1}, {1}, size_t{228} << 10), Catch::Contains("dynamic shared memory"));
  CHECK(visits == 0);
  CHECK_THROWS_AS(simt::blocks_for(int64_t{1} << 40, 128), Error);
  CHECK(simt::blocks_for(257, 128) == 3);
}

// --- barriers and shared memory
// --------------------------------------------------------------------

__global__ void transpose_tile(float* y, const float* x) {
  using Tile = float[32][33];
  SIMT_SHARED(Tile, tile);
  for (unsigned row = threadIdx.y; row < 32; row += blockDim.y) {
    tile[row][threadIdx.x] = x[row * 32 + threadIdx.x];
  }
  __syncthreads();
  for (unsigned row = threadIdx.y; row < 32; row += blockDim.y) {
    y[row * 32 + threadIdx.x] = tile[threadIdx.x][row];
  }
}

TEST_CASE("a barrier makes shared memory visible to the block", "[simt][unit]") {
  const std::vector<float> x = random_values(1024);
  in_every_order([&] {
    std::vector<float> y(1024);
    launch(transpose_tile, {1}, {32, 8}, 0, {}, y.data(), x.data());
    bool right = true;
    for (size_t i = 0; i < 1024; ++i) right = right && y[i] == x[i % 32 * 32 + i / 32];
    CHECK(right);
  });
}

__global__ void reverse_some(float* y) {
  using Tile = float[64];
  SIMT_SHARED(Tile, tile);
  if (threadIdx.x >= 40 || threadIdx.x == 0) return;
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  y[threadIdx.x] = tile[40 - threadIdx.x];
}

TEST_CASE("threads that have left the kernel do not count at a barrier", "[simt][unit]") {
  in_every_order([] {
    std::vector<float> y(64);
    launch(reverse_some, {1}, {64}, 0, {}, y.data());
    for (int i = 1; i < 40; ++i) CHECK(y[static_cast<size_t>(i)] == static_cast<float>(40 - i));
  });
}

__global__ void rotate_dynamic(int* y) {
  int* const tile = simt::dynamic_shared<int>();
  tile[threadIdx.x] = static_cast<int>(100 * blockIdx.x + threadIdx.x);
  __syncthreads();
  y[blockIdx.x * blockDim.x + threadIdx.x] = tile[(threadIdx.x + 1) % blockDim.x];
}

TEST_CASE("dynamic shared memory belongs to the block", "[simt][unit]") {
  in_every_order([] {
    std::vector<int> y(150);
    launch(rotate_dynamic, {3}, {50}, 50 * sizeof(int), {}, y.data());
    for (int i = 0; i < 150; ++i) {
      CHECK(y[static_cast<size_t>(i)] == i / 50 * 100 + (i % 50 + 1) % 50);
    }
  });
}

// --- warps
// -----------------------------------------------------------------------------------------

struct Shuffled {
  float by_xor, by_down;
  double by_index;
};

__global__ void shuffle_all(Shuffled* y, const float* x) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float value = x[threadIdx.x];
  y[threadIdx.x] = {simt::shfl_xor(value, 5), simt::shfl_down(value, 3),
                    simt::shfl_idx(static_cast<double>(value) / 3, (7 * lane + 2) % 32)};
}

TEST_CASE("shuffles deliver the value of the lane that CUDA names", "[simt][unit]") {
  const std::vector<float> x = random_values(64);
  in_every_order([&] {
    std::vector<Shuffled> y(64);
    launch(shuffle_all, {1}, {64}, 0, {}, y.data(), x.data());
    for (size_t i = 0; i < 64; ++i) {
      const size_t lane = i % 32, warp = i - lane;
      CHECK(y[i].by_xor == x[warp + (lane ^ 5)]);
      CHECK(y[i].by_down == (lane + 3 < 32 ? x[i + 3] : x[i]));
      CHECK(y[i].by_index == static_cast<double>(x[warp + (7 * lane + 2) % 32]) / 3);
    }
  });
}

// Two halves of a warp reduce on their own, in different numbers of steps, and meet again.
__global__ void masked_sums(float* y, const float* x) {
  const unsigned lane = threadIdx.x;
  float sum = x[lane];
  if (lane < 16) {
    for (int step = 8; step > 0; step /= 2) sum += simt::shfl_xor(sum, step, 0x0000ffffU);
  } else {
    for (int step = 2; step > 0; step /= 2) sum += simt::shfl_xor(sum, step, 0xffff0000U);
  }
  y[lane] = simt::shfl_xor(sum, 16);
}

TEST_CASE("groups of a warp meet apart from one another", "[simt][unit]") {
  const std::vector<float> x = random_values(32);  // multiples of 2^-10: sums are exact
  in_every_order([&] {
    std::vector<float> y(32);
    launch(masked_sums, {1}, {32}, 0, {}, y.data(), x.data());
    const auto sum = [&](size_t first, size_t count) {
      const auto begin = x.begin() + static_cast<ptrdiff_t>(first);
      return std::accumulate(begin, begin + static_cast<ptrdiff_t>(count), 0.F);
    };
    for (size_t l = 0; l < 16; ++l) CHECK(y[l] == sum(16 + l / 4 * 4, 4));
    for (size_t l = 16; l < 32; ++l) CHECK(y[l] == sum(0, 16));
  });
}

struct Votes {
  unsigned ballot;
  bool any, all, any_of_half;
};

__global__ void vote(Votes* y, const int* x) {
  const unsigned thread = threadIdx.x;
  const bool positive = x[thread] > 0;
  const unsigned half = thread % 32 < 16 ? 0x0000ffffU : 0xffff0000U;
  y[thread] = {simt::ballot(positive), simt::any_of(positive), simt::all_of(positive),
               simt::any_of(positive, half)};
}

TEST_CASE("votes", "[simt][unit]") {
  std::vector<int> x(72);  // the third warp has 8 lanes
  for (size_t i = 0; i < 72; ++i) x[i] = i < 32 ? i % 3 == 1 && i < 16 : i >= 64;
  in_every_order([&] {
    std::vector<Votes> y(72);
    launch(vote, {1}, {72}, 0, {}, y.data(), x.data());
    CHECK(y[5].ballot == 0x2492U);
    CHECK((y[5].any && !y[5].all && y[5].any_of_half && !y[20].any_of_half));
    CHECK((y[40].ballot == 0 && !y[40].any && !y[40].all));
    CHECK((y[70].ballot == 0xffU && y[70].any && y[70].all));
  });
}

__global__ void leave_the_warp(float* y) {
  float value = static_cast<float>(threadIdx.x);
  if (threadIdx.x >= 20) return;
  y[threadIdx.x] = simt::shfl_xor(value, 1);
}

TEST_CASE("a collective does not wait for lanes that have left", "[simt][unit]") {
  in_every_order([] {
    std::vector<float> y(32, -1.F);
    launch(leave_the_warp, {1}, {32}, 0, {}, y.data());
    for (size_t l = 0; l < 32; ++l) CHECK(y[l] == (l < 20 ? static_cast<float>(l ^ 1) : -1.F));
  });
}

// The values go through shared memory, with nothing but warp_sync between write and read.
__global__ void exchange_in_warp(float* y, const float* x) {
  using Row = float[64];
  SIMT_SHARED(Row, row);
  const unsigned i = threadIdx.x;
  float value = x[i];
  for (unsigned step = 1; step < 32; step *= 2) {
    row[i] = value;
    simt::warp_sync();
    value += row[i ^ step];
    simt::warp_sync();
  }
  y[i] = value;
}

TEST_CASE("warp_sync orders the memory accesses of a warp", "[simt][unit]") {
  const std::vector<float> x = random_values(64);
  in_every_order([&] {
    std::vector<float> y(64);
    launch(exchange_in_warp, {1}, {64}, 0, {}, y.data(), x.data());
    CHECK(y[3] == std::accumulate(x.begin(), x.begin() + 32, 0.F));
    CHECK(y[35] == std::accumulate(x.begin() + 32, x.end(), 0.F));
  });
}

// --- atomics
// ---------------------------------------------------------------------------------------

struct Counters {
  int sum = 0, largest = -1;
  float real = 0;
  unsigned long long wide = 0;
  unsigned product = 1, finished = 0;
  int last_total = 0;
};

// The block that finishes last sees what all others wrote.
__global__ void count_atomically(Counters* c, int* partial) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  simt::atomic_add(&c->sum, i);
  simt::atomic_add(&c->real, 0.5F);
  simt::atomic_add(&c->wide, 1ULL << 33);
  simt::atomic_max(&c->largest, (i * 37) % 101);
  unsigned seen = simt::atomic_add(&c->product, 0U);
  for (unsigned old = ~seen; old != seen;) {
    old = seen;
    seen = simt::atomic_cas(&c->product, old, old * 3);
  }
  if (threadIdx.x != 0) return;
  partial[blockIdx.x] = static_cast<int>(blockIdx.x) + 1;
  simt::thread_fence();
  if (simt::atomic_add(&c->finished, 1U) + 1 < gridDim.x) return;
  simt::thread_fence();
  for (unsigned b = 0; b < gridDim.x; ++b) c->last_total += partial[b];
}

TEST_CASE("atomics, and the last block", "[simt][unit]") {
  in_every_order([] {
    Counters c;
    std::vector<int> partial(4);
    launch(count_atomically, {4}, {40}, 0, {}, &c, partial.data());
    CHECK(c.sum == 159 * 160 / 2);
    CHECK(c.real == 80.F);
    CHECK(c.wide == 160ULL << 33);
    CHECK(c.largest == 100);
    unsigned power = 1;
    for (int i = 0; i < 160; ++i) power *= 3;
    CHECK(c.product == power);
    CHECK(c.last_total == 10);
  });
}

// --- asynchronous copies
// ---------------------------------------------------------------------------

// Sums rows of 16 bytes per thread, with the copy of the next row in flight; row 2 is filled with
// zeros instead of being read.
__global__ void sum_rows(float* y, const float* x, int rows) {
  using Stages = float[2][32][4];
  SIMT_SHARED(Stages, stages);
  const unsigned t = threadIdx.x;
  const auto fetch = [&](int row) {
    if (row < rows)
      simt::copy_async16(stages[row % 2][t], x + 4 * int64_t{row * 32 + static_cast<int>(t)},
                         row != 2);
    simt::copy_commit();
  };
  float sum = 0;
  fetch(0);
  for (int row = 0; row < rows; ++row) {
    fetch(row + 1);
    simt::copy_wait<1>();
    for (const float v : stages[row % 2][t]) sum += v;
  }
  y[t] = sum;
}

TEST_CASE("asynchronous copies land at their wait", "[simt][unit]") {
  constexpr size_t rows = 5;
  std::vector<float> x = random_values(rows * 128);
  in_every_order([&] {
    std::vector<float> y(32);
    launch(sum_rows, {1}, {32}, 0, {}, y.data(), x.data(), static_cast<int>(rows));
    for (size_t t = 0; t < 32; ++t) {
      float sum = 0;
      for (size_t i = 0; i < rows * 4; ++i) sum += i / 4 == 2 ? 0 : x[(i / 4 * 32 + t) * 4 + i % 4];
      CHECK(y[t] == sum);
    }
  });
}

// --- tensor cores
// ----------------------------------------------------------------------------------

// Matrix i of four holds 64 consecutive numbers; lane l passes row l % 8 of matrix l / 8.
template <int N>
__global__ void load_matrices(uint32_t* plain, uint32_t* transposed) {
  struct alignas(16) Rows {
    uint16_t v[32][8];
  };
  SIMT_SHARED(Rows, rows);
  const unsigned lane = threadIdx.x;
  for (unsigned c = 0; c < 8; ++c) rows.v[lane][c] = static_cast<uint16_t>(lane * 8 + c);
  __syncthreads();
  uint32_t a[N], b[N];
  const void* const own = lane < 8 * N ? rows.v[lane] : nullptr;
  simt::ldmatrix(a, own);
  simt::ldmatrix_trans(b, own);
  for (int i = 0; i < N; ++i) {
    plain[lane * N + i] = a[i];
    transposed[lane * N + i] = b[i];
  }
}

template <int N>
void check_load_matrices() {
  in_every_order([] {
    std::vector<uint32_t> plain(size_t{32} * N), transposed(size_t{32} * N);
    launch(load_matrices<N>, {1}, {32}, 0, {}, plain.data(), transposed.data());
    for (uint32_t l = 0; l < 32; ++l) {
      const uint32_t row = l / 4, column = l % 4 * 2;
      for (uint32_t i = 0; i < N; ++i) {
        const uint32_t first = 64 * i + 8 * row + column, first_t = 64 * i + 8 * column + row;
        CHECK(plain[l * N + i] == (first | (first + 1) << 16));
        CHECK(transposed[l * N + i] == (first_t | (first_t + 8) << 16));
      }
    }
  });
}

TEST_CASE("ldmatrix", "[simt][unit]") {
  check_load_matrices<1>();
  check_load_matrices<2>();
  check_load_matrices<4>();
}

// One warp: d (16x8) += a (16x16) b (16x8), all row-major in memory. The fragments come by
// ldmatrix, those of b transposed, as a real kernel loads them.
template <class T>
__global__ void multiply(float* d, const T* a, const T* b) {
  struct alignas(16) Tiles {
    T a[16][16], b[16][8];
  };
  SIMT_SHARED(Tiles, tiles);
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 256; i += 32) tiles.a[i / 16][i % 16] = a[i];
  for (unsigned i = lane; i < 128; i += 32) tiles.b[i / 8][i % 8] = b[i];
  __syncthreads();
  uint32_t fa[4], fb[2];
  simt::ldmatrix(fa, &tiles.a[lane % 16][lane / 16 * 8]);
  simt::ldmatrix_trans(fb, tiles.b[lane % 16]);
  float acc[4];
  const unsigned row = lane / 4, column = lane % 4 * 2;
  for (unsigned i = 0; i < 4; ++i) acc[i] = d[(row + i / 2 * 8) * 8 + column + i % 2];
  simt::mma_m16n8k16<T>(acc, fa, fb);
  for (unsigned i = 0; i < 4; ++i) d[(row + i / 2 * 8) * 8 + column + i % 2] = acc[i];
}

template <class T>
void check_multiply() {
  std::vector<T> a(256), b(128);
  const std::vector<float> ra = random_values(256, 1), rb = random_values(128, 2);
  for (size_t i = 0; i < a.size(); ++i) a[i] = from_float<T>(ra[i]);
  for (size_t i = 0; i < b.size(); ++i) b[i] = from_float<T>(rb[i]);
  in_every_order([&] {
    std::vector<float> d = random_values(128, 3);
    const std::vector<float> before = d;
    launch(multiply<T>, {1}, {32}, 0, {}, d.data(), a.data(), b.data());
    for (size_t i = 0; i < 16; ++i) {
      for (size_t j = 0; j < 8; ++j) {
        double sum = before[i * 8 + j];
        for (size_t k = 0; k < 16; ++k) {
          sum += static_cast<double>(to_float(a[i * 16 + k])) * to_float(b[k * 8 + j]);
        }
        CHECK(d[i * 8 + j] == Approx(sum).margin(1e-5));
      }
    }
  });
}

TEST_CASE("mma multiplies what ldmatrix loads", "[simt][unit]") {
  check_multiply<bf16>();
  check_multiply<f16>();
}

}  // namespace
}  // namespace unetd
