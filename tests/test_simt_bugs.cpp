// The SIMT emulator catches the bugs it is there for. Every kernel here has one planted.
#include "tests/simt/emulated.h"

#include <algorithm>
#include <limits>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

using Catch::Contains;
using simt::launch;

// A race shows as a report of ThreadSanitizer, or else as a wrong result in some lane order.
void check_race(const std::function<bool()>& right) {
  if (thread_sanitizer) {
    const std::string report = stderr_of([&] { right(); });
    CHECK_THAT(report, Contains("data race"));
    CHECK_THAT(report, Contains("test_simt_bugs.cpp"));
    return;
  }
  int wrong = 0;
  in_every_order([&] { wrong += right() ? 0 : 1; });
  CHECK(wrong > 0);
}

// --- missing synchronisation
// -----------------------------------------------------------------------

// Each round overwrites the tile; without the second barrier a fast warp does so while a slow one
// still reads. `y` collects what a thread read from its neighbour.
template <bool barrier_at_end>
__global__ void pass_around(float* y, int rounds) {
  using Tile = float[64];
  SIMT_SHARED(Tile, tile);
  const unsigned t = threadIdx.x;
  float sum = 0;
  for (int round = 0; round < rounds; ++round) {
    tile[t] = static_cast<float>(round + 1);
    __syncthreads();
    sum += tile[63 - t];
    if (barrier_at_end) __syncthreads();
  }
  y[t] = sum;
}

template <bool barrier_at_end>
bool pass_around_is_right() {
  std::vector<float> y(64);
  launch(pass_around<barrier_at_end>, {1}, {64}, 0, {}, y.data(), 4);
  return y == std::vector<float>(64, 1 + 2 + 3 + 4);
}

TEST_CASE("a missing barrier", "[simt][unit]") {
  in_every_order([] { CHECK(pass_around_is_right<true>()); });
  check_race(pass_around_is_right<false>);
}

__global__ void swap_without_warp_sync(float* y) {
  using Row = float[32];
  SIMT_SHARED(Row, row);
  row[threadIdx.x] = static_cast<float>(threadIdx.x);
  y[threadIdx.x] = row[threadIdx.x ^ 1];
}

TEST_CASE("lanes of a warp are not in lockstep", "[simt][unit]") {
  check_race([] {
    std::vector<float> y(32);
    launch(swap_without_warp_sync, {1}, {32}, 0, {}, y.data());
    for (size_t l = 0; l < 32; ++l) {
      if (y[l] != static_cast<float>(l ^ 1)) return false;
    }
    return true;
  });
}

__global__ void add_without_atomic(float* sum) {
  if (threadIdx.x == 0) *sum += 1;
}

// A shuffle makes the lanes meet but does not order their memory accesses.
__global__ void swap_by_shuffle(float* y) {
  using Row = float[32];
  SIMT_SHARED(Row, row);
  row[threadIdx.x] = static_cast<float>(threadIdx.x);
  simt::shfl_xor(0, 1);
  y[threadIdx.x] = row[threadIdx.x ^ 1];
}

// The emulator takes blocks one after another and lets no lane pass a shuffle early, so these give
// the right result in any order.
TEST_CASE("races that only the thread sanitizer sees", "[simt][unit]") {
  if (!thread_sanitizer) return;
  float sum = 0;
  CHECK_THAT(stderr_of([&] { launch(add_without_atomic, {8}, {32}, 0, {}, &sum); }),
             Contains("data race"));
  std::vector<float> y(32);
  CHECK_THAT(stderr_of([&] { launch(swap_by_shuffle, {1}, {32}, 0, {}, y.data()); }),
             Contains("data race"));
}

template <bool waits>
__global__ void copy_row(float* y, const float* x) {
  using Row = float[32][4];
  SIMT_SHARED(Row, row);
  simt::copy_async16(row[threadIdx.x], x + size_t{4} * threadIdx.x);
  simt::copy_commit();
  if (waits) simt::copy_wait<0>();
  y[threadIdx.x] = row[threadIdx.x][0];
}

TEST_CASE("a missing wait for an asynchronous copy", "[simt][unit]") {
  const std::vector<float> x(128, 1.F);
  std::vector<float> y(32);
  launch(copy_row<true>, {1}, {32}, 0, {}, y.data(), x.data());
  CHECK(y == std::vector<float>(32, 1.F));
  launch(copy_row<false>, {1}, {32}, 0, {}, y.data(), x.data());
  CHECK(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }));
}

// --- memory
// ----------------------------------------------------------------------------------------

// Sum of the three neighbours of each pixel in a row; the halo is not checked.
__global__ void blur_without_halo(float* y, const float* x) {
  const int i = static_cast<int>(threadIdx.x);
  y[i] = x[i - 1] + x[i] + x[i + 1];
}

TEST_CASE("a read outside a buffer", "[simt][unit]") {
  std::vector<float> y(32);
  if (address_sanitizer) {
    const std::string report = stderr_of([&] {
      const std::vector<float> x(32, 1.F);
      launch(blur_without_halo, {1}, {32}, 0, {}, y.data(), x.data());
    });
    CHECK_THAT(report, Contains("AddressSanitizer: heap-buffer-overflow"));
    CHECK_THAT(report, Contains("test_simt_bugs.cpp"));
    return;
  }
  std::vector<float> guarded(96, std::numeric_limits<float>::quiet_NaN());
  std::fill_n(guarded.begin() + 32, 32, 1.F);
  launch(blur_without_halo, {1}, {32}, 0, {}, y.data(), guarded.data() + 32);
  CHECK((std::isnan(y.front()) && std::isnan(y.back())));
  CHECK(y[1] == 3.F);
}

__global__ void write_past_static(int past) {
  using Tile = int[30];
  SIMT_SHARED(Tile, tile);
  int* const t = tile;  // bounds of a plain pointer are nobody's but the emulator's
  t[past < 0 ? past : static_cast<int>(threadIdx.x) + past] = 1;
}
__global__ void write_past_dynamic(int past) {
  simt::dynamic_shared<int>()[static_cast<int>(threadIdx.x) + past] = 1;
}

TEST_CASE("a write beyond shared memory", "[simt][unit]") {
  const auto past_static = [](int past) { launch(write_past_static, {2}, {30}, 0, {}, past); };
  const auto past_dynamic = [](int past) {
    launch(write_past_dynamic, {2}, {30}, 30 * sizeof(int), {}, past);
  };
  past_static(0);
  past_dynamic(0);
  if (address_sanitizer) {
    CHECK_THAT(stderr_of([&] { past_static(1); }), Contains("AddressSanitizer"));
    CHECK_THAT(stderr_of([&] { past_static(-1); }), Contains("AddressSanitizer"));
    CHECK_THAT(stderr_of([&] { past_dynamic(1); }), Contains("AddressSanitizer"));
    return;
  }
  if (thread_sanitizer) return;  // which reports the race of the two threads that write out there
  CHECK_THAT(error_of([&] { past_static(1); }),
             Contains("write past a shared array of 120 bytes") && Contains("block (0,0,0)"));
  CHECK_THAT(error_of([&] { past_static(-1); }), Contains("write before a shared array"));
  CHECK_THAT(error_of([&] { past_dynamic(1); }),
             Contains("write past a shared array of 120 bytes"));
}

__global__ void read_unwritten(float* y) {
  using Tile = float[64];
  SIMT_SHARED(Tile, tile);
  if (blockIdx.x == 0) tile[threadIdx.x] = 1.F;  // the next block must not find it
  __syncthreads();
  y[blockIdx.x * 32 + threadIdx.x] = tile[threadIdx.x];
}

TEST_CASE("a read of shared memory that nobody wrote", "[simt][unit]") {
  std::vector<float> y(64);
  launch(read_unwritten, {2}, {32}, 0, {}, y.data());
  CHECK((y[0] == 1.F && y[31] == 1.F));
  CHECK((std::isnan(y[32]) && std::isnan(y[63])));
}

__global__ void load_misaligned(float* y, const float* x) {
  simt::store16(y, simt::load16(x + threadIdx.x));
}

TEST_CASE("a misaligned vector access", "[simt][unit]") {
  alignas(16) const float x[8] = {};
  alignas(16) float y[4];
  CHECK_THAT(error_of([&] { launch(load_misaligned, {1}, {2}, 0, {}, y, x); }),
             Contains("misaligned 16-byte access"));
}

__global__ void copy_to_global(float* y, const float* x) { simt::copy_async16(y, x); }
__global__ void load_matrix_from_global(const float* x) {
  uint32_t d[1];
  simt::ldmatrix(d, x);
}
__global__ void too_much_shared() {
  using Tile = char[50000];
  SIMT_SHARED(Tile, tile);
  tile[threadIdx.x] = 0;
}

TEST_CASE("shared-memory instructions want shared memory, and not too much", "[simt][unit]") {
  alignas(16) const float x[4] = {};
  alignas(16) float y[4];
  CHECK_THAT(error_of([&] { launch(copy_to_global, {1}, {1}, 0, {}, y, x); }),
             Contains("does not copy to shared memory") && Contains("test_simt_bugs.cpp:"));
  CHECK_THAT(error_of([&] { launch(load_matrix_from_global, {1}, {32}, 0, {}, x); }),
             Contains("does not read shared memory"));
  CHECK_THAT(error_of([] { launch(too_much_shared, {1}, {1}, 0, {}); }),
             Contains("static shared memory, CUDA allows 49152"));
}

// --- divergence
// ------------------------------------------------------------------------------------

__global__ void half_at_barrier(float* y) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    y[threadIdx.x] = simt::shfl_xor(1.F, 2);
  }
}

TEST_CASE("half the block at a barrier, half in a shuffle", "[simt][unit]") {
  std::vector<float> y(64);
  in_every_order([&] {
    const std::string report =
        error_of([&] { launch(half_at_barrier, {1}, {64}, 0, {}, y.data()); });
    CHECK_THAT(report, Contains("deadlock in block (0,0,0)"));
    CHECK_THAT(report, Contains("32 at the barrier at test_simt_bugs.cpp:"));
    CHECK_THAT(report, Contains("32 in shfl_xor at test_simt_bugs.cpp:"));
    CHECK_THAT(report, Contains("(first thread 0)") && Contains("(first thread 1)"));
    // The lanes that were given up are as new.
    if (!thread_sanitizer) CHECK(pass_around_is_right<true>());
  });
}

__global__ void different_barriers() {
  if (threadIdx.x < 32) {  // NOLINT(bugprone-branch-clone): that is the bug
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST_CASE("threads at different barriers", "[simt][unit]") {
  CHECK_THAT(error_of([] { launch(different_barriers, {1}, {64}, 0, {}); }),
             Contains("threads at different barriers") && Contains("(first thread 32)"));
}

__global__ void different_collectives() {
  if (threadIdx.x % 2 == 0) {
    simt::shfl_xor(1, 1);
  } else {
    simt::ballot(true);
  }
}
__global__ void not_in_the_mask() { simt::warp_sync(threadIdx.x < 16 ? 0xffffU : 0xffU); }
__global__ void matrix_product_by_half_a_warp() {
  if (threadIdx.x >= 16) return;
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  simt::mma_m16n8k16<f16>(d, a, b);
}

TEST_CASE("lanes of a warp that disagree on a collective", "[simt][unit]") {
  in_every_order([] {
    CHECK_THAT(error_of([] { launch(different_collectives, {1}, {32}, 0, {}); }),
               Contains("lanes of one warp in different collectives") && Contains("in shfl_xor") &&
                   Contains("in ballot"));
    CHECK_THAT(error_of([] { launch(not_in_the_mask, {1}, {32}, 0, {}); }),
               Contains("is not in the mask"));
    CHECK_THAT(error_of([] { launch(matrix_product_by_half_a_warp, {1}, {32}, 0, {}); }),
               Contains("needs all 32 lanes"));
  });
}

__global__ void shuffle_from_absent(float* y) { y[threadIdx.x] = simt::shfl_xor(1.F, 8); }

TEST_CASE("a shuffle from a lane that does not take part", "[simt][unit]") {
  std::vector<float> y(12);
  launch(shuffle_from_absent, {1}, {12}, 0, {}, y.data());
  for (size_t l = 0; l < 12; ++l) CHECK(std::isnan(y[l]) == ((l ^ 8) >= 12));
}

__global__ void launch_another(float* y) { launch(swap_without_warp_sync, {1}, {32}, 0, {}, y); }

TEST_CASE("device code where there is no device", "[simt][unit]") {
  std::vector<float> y(32);
  CHECK_THAT(error_of([&] { launch(launch_another, {1}, {1}, 0, {}, y.data()); }),
             Contains("cannot launch another"));
  CHECK_THAT(error_of([] { __syncthreads(); }), Contains("outside of a launch"));
}

}  // namespace
}  // namespace unetd
