// The g++ half of simt.h: what kernels see of the emulator, and its switches for tests. Include
// simt.h instead. Memory that a kernel names is accessed by code in this header, not by the
// runtime: so the accesses are compiled into the kernel's translation unit, where the sanitizers
// see them.
#pragma once

#include <atomic>
#include <cstring>
#include <functional>
#include <type_traits>

// NOLINTBEGIN(bugprone-reserved-identifier,bugprone-macro-parentheses): the words are CUDA's
#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define SIMT_DEVICE inline
#define SIMT_UNROLL
#define SIMT_LOOP
// The name of the local constant is the identity of the array: one per kernel instance.
#define SIMT_SHARED(T, name)         \
  static const char name##_site = 0; \
  T& name = *static_cast<T*>(::unetd::simt::shared_array(&name##_site, sizeof(T)))

#define threadIdx (::unetd::simt::thread_index())
#define blockIdx (::unetd::simt::block_index())
#define blockDim (::unetd::simt::block_extent())
#define gridDim (::unetd::simt::grid_extent())
#define __syncthreads ::unetd::simt::block_sync
// NOLINTEND(bugprone-reserved-identifier,bugprone-macro-parentheses)

namespace unetd::simt {

inline constexpr DeviceType device = DeviceType::simt;

// --- for tests -----------------------------------------------------------------------------------

// The order in which the lanes (threads) of a block get their turn. A kernel that is right gives
// the same result in every order.
enum class Order : uint8_t { forward, reverse, shuffled };
struct Options {
  Order order = Order::forward;
  uint32_t seed = 1;  // of shuffled
};
// Of the launches of the calling thread.
Options& options();

// --- launch and indices
// ----------------------------------------------------------------------------

// Runs `body` once for every thread of every block, and returns when all have left it. Throws Error
// for a launch CUDA would refuse, a deadlock, lanes that diverge where CUDA forbids it, a
// misaligned vector access, or a write beyond a shared array; the message names the block and,
// where there is one, the source line.
void run(Dim grid, Dim block, size_t dynamic_bytes, const std::function<void()>& body);

template <class... P, class... A>
void launch(void (*kernel)(P...), Dim grid, Dim block, size_t dynamic_bytes, const Stream&,
            A... args) {
  run(grid, block, dynamic_bytes, [&] { kernel(static_cast<P>(args)...); });
}

Dim thread_index();
Dim block_index();
Dim block_extent();
Dim grid_extent();

// A place in a kernel's source, for reports. As a default argument it is the caller's.
struct Site {
  const char* file = "";
  int line = 0;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
  bool operator==(const Site&) const = default;
};

void block_sync(Site site = Site::here());

// --- shared memory
// -----------------------------------------------------------------------------------

// Both are filled with NaN when a block begins, and lie between guard zones.
void* shared_array(const void* identity, size_t bytes);
void* dynamic_shared_memory();
template <class T>
T* dynamic_shared() {
  return static_cast<T*>(dynamic_shared_memory());
}

void check_aligned16(const void* p, Site site = Site::here());

// --- warps
// -------------------------------------------------------------------------------------------

enum class Collective : uint8_t {
  shfl_xor,
  shfl_down,
  shfl_idx,
  ballot,
  warp_sync,
  mma_bf16,
  mma_f16,
  ldmatrix,
  ldmatrix_trans,
};

// One 32-bit word from another lane; `operand` is the second argument of the CUDA function. A lane
// that does not take part delivers 0xffffffff, a NaN.
uint32_t shuffle_word(Collective kind, uint32_t word, int operand, unsigned mask, Site site);

template <class T>
T shuffle(Collective kind, T value, int operand, unsigned mask, Site site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(uint32_t) == 0);
  uint32_t words[sizeof(T) / sizeof(uint32_t)];
  std::memcpy(words, &value, sizeof(T));
  for (uint32_t& word : words) word = shuffle_word(kind, word, operand, mask, site);
  std::memcpy(&value, words, sizeof(T));
  return value;
}
template <class T>
T shfl_xor(T value, int lane_mask, unsigned mask = full_warp, Site site = Site::here()) {
  return shuffle(Collective::shfl_xor, value, lane_mask, mask, site);
}
template <class T>
T shfl_down(T value, int delta, unsigned mask = full_warp, Site site = Site::here()) {
  return shuffle(Collective::shfl_down, value, delta, mask, site);
}
template <class T>
T shfl_idx(T value, int lane, unsigned mask = full_warp, Site site = Site::here()) {
  return shuffle(Collective::shfl_idx, value, lane, mask, site);
}

unsigned ballot(bool predicate, unsigned mask = full_warp, Site site = Site::here());
inline bool any_of(bool predicate, unsigned mask = full_warp, Site site = Site::here()) {
  return ballot(predicate, mask, site) != 0;
}
inline bool all_of(bool predicate, unsigned mask = full_warp, Site site = Site::here()) {
  return ballot(!predicate, mask, site) == 0;
}
void warp_sync(unsigned mask = full_warp, Site site = Site::here());

// --- memory
// ------------------------------------------------------------------------------------------

// Relaxed, as CUDA's: they do not order other accesses.
template <class T>
T atomic_add(T* p, T value) {
  return std::atomic_ref<T>(*p).fetch_add(value, std::memory_order_relaxed);
}
template <class T>
T atomic_cas(T* p, T expected, T desired) {
  std::atomic_ref<T>(*p).compare_exchange_strong(expected, desired, std::memory_order_relaxed);
  return expected;
}
template <class T>
T atomic_max(T* p, T value) {
  static_assert(std::is_integral_v<T>, "CUDA has no atomicMax of floats");
  const std::atomic_ref<T> ref(*p);
  T old = ref.load(std::memory_order_relaxed);
  while (old < value && !ref.compare_exchange_weak(old, value, std::memory_order_relaxed)) {
  }
  return old;
}
void thread_fence();

// Sixteen bytes of any type.
struct [[gnu::may_alias]] alignas(16) Bytes16 {
  uint32_t words[4];
};
struct AsyncCopy {
  Bytes16* shared = nullptr;
  Bytes16 data{};
};
void queue_copy(const AsyncCopy& copy, Site site);
// The oldest copy of this lane that is to land so that at most `pending` groups stay in flight.
const AsyncCopy* next_copy(int pending);

// The source is read now; the destination changes at the wait that covers it, and not before.
inline void copy_async16(void* shared, const void* global, bool valid = true,
                         Site site = Site::here()) {
  check_aligned16(global, site);
  AsyncCopy copy{static_cast<Bytes16*>(shared)};
  if (valid) copy.data = *static_cast<const Bytes16*>(global);
  queue_copy(copy, site);
}
void copy_commit();
template <int pending>
void copy_wait() {
  while (const AsyncCopy* copy = next_copy(pending)) *copy->shared = copy->data;
}

// --- tensor cores
// ------------------------------------------------------------------------------------

// Hands this lane's row of an 8x8 matrix to the warp; returns its fragments of `count` matrices.
void exchange_matrix(Collective kind, uint32_t* d, int count, const Bytes16& row, Site site);
// Lane i delivers the row of matrix i / 8 if there is such a matrix; else its pointer is not used.
bool delivers_matrix_row(int count, const void* row, Site site);

template <int N>
void load_matrix(Collective kind, uint32_t (&d)[N], const void* row, Site site) {
  static_assert(N == 1 || N == 2 || N == 4);
  Bytes16 own{};
  if (delivers_matrix_row(N, row, site)) own = *static_cast<const Bytes16*>(row);
  exchange_matrix(kind, d, N, own, site);
}
template <int N>
void ldmatrix(uint32_t (&d)[N], const void* row, Site site = Site::here()) {
  load_matrix(Collective::ldmatrix, d, row, site);
}
template <int N>
void ldmatrix_trans(uint32_t (&d)[N], const void* row, Site site = Site::here()) {
  load_matrix(Collective::ldmatrix_trans, d, row, site);
}

void multiply_add(Collective kind, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  Site site);
// d += a * b with a: 16x16 row-major, b: 16x8 column-major, in the fragments PTX documents.
template <class T>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  Site site = Site::here()) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, f16>);
  multiply_add(std::is_same_v<T, bf16> ? Collective::mma_bf16 : Collective::mma_f16, d, a, b, site);
}

}  // namespace unetd::simt
