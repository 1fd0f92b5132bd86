#include "tools/bench/peak.h"

#include "engine/base/threads.h"
#include "engine/device/timing.h"
#include "engine/memory/buffer.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include <unistd.h>

namespace unetd::bench {
namespace {

constexpr int chains = 12;  // independent FMAs in flight: more than latency times ports needs

// Each instruction set needs a function of its own: GCC splits vectors into what the enclosing
// function's target has before it inlines anything, so a shared body would become SSE code.
// The chains approach 2 and start elsewhere: one that began there would be a known constant.
#define UNETD_FMA_LOOP(name, isa, width)                                           \
  [[gnu::target(isa)]] float name(int64_t rounds) {                                \
    using Vec = float __attribute__((vector_size(width)));                         \
    Vec chain[chains];                                                             \
    for (int i = 0; i < chains; ++i) chain[i] = Vec{} + static_cast<float>(3 + i); \
    const Vec factor = Vec{} + 0.5F, shift = Vec{} + 1.0F;                         \
    for (int64_t r = 0; r < rounds; ++r) {                                         \
      for (Vec & v : chain) v = v * factor + shift;                                \
    }                                                                              \
    Vec sum = chain[0];                                                            \
    for (int i = 1; i < chains; ++i) sum += chain[i];                              \
    return sum[0];                                                                 \
  }
UNETD_FMA_LOOP(fma_avx512, "avx512f,prefer-vector-width=512", 64)
UNETD_FMA_LOOP(fma_avx2, "avx2,fma", 32)
UNETD_FMA_LOOP(fma_sse2, "sse2", 16)
#undef UNETD_FMA_LOOP

struct FmaLoop {
  float (*run)(int64_t rounds);
  int lanes;
};

FmaLoop widest_fma_loop() {
  if (__builtin_cpu_supports("avx512f")) return {fma_avx512, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {fma_avx2, 8};
  return {fma_sse2, 4};
}

template <class Run>
double best_seconds(int runs, Run&& run) {
  double best = seconds_of(run);
  for (int i = 1; i < runs; ++i) best = std::min(best, seconds_of(run));
  return best;
}

double peak_flops() {
  constexpr int64_t rounds = 1'000'000;  // some 3 ms: short runs dodge other processes
  const FmaLoop loop = widest_fma_loop();
  std::atomic<float> sink = 0;  // keeps the results, and with them the work
  const double seconds = best_seconds(
      6, [&] { parallel_for(thread_count(), [&](int64_t) { sink.store(loop.run(rounds)); }); });
  return 2.0 * chains * loop.lanes * static_cast<double>(rounds) * thread_count() / seconds;
}

// a = b + 2 c
double peak_bytes() {
  constexpr auto count = static_cast<int64_t>(triad_bytes / 3 / sizeof(float));
  constexpr size_t bytes = static_cast<size_t>(count) * sizeof(float);
  const Buffer memory[3] = {
      {DeviceType::cpu, bytes}, {DeviceType::cpu, bytes}, {DeviceType::cpu, bytes}};
  float* __restrict a = reinterpret_cast<float*>(memory[0].data());
  const float* b = reinterpret_cast<const float*>(memory[1].data());
  const float* c = reinterpret_cast<const float*>(memory[2].data());
  const double seconds = best_seconds(6, [&] {
    parallel_chunks(count, int64_t{1} << 20, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) a[i] = b[i] + 2 * c[i];
    });
  });
  return 3.0 * static_cast<double>(bytes) / seconds;
}

double copied_bytes(DeviceType device) {
  const Buffer from(device, triad_bytes / 2);
  Buffer to(device, from.bytes());
  const DeviceTimer timer(backend(device));
  double best = timer([&] { copy(from, to); });
  for (int i = 0; i < 6; ++i) best = std::min(best, timer([&] { copy(from, to); }));
  return 2.0 * static_cast<double>(from.bytes()) / best;
}

void flush_gpu() {
  constexpr size_t more_than_level2 = size_t{256} << 20;
  static const Buffer memory(DeviceType::cuda, more_than_level2);
  static unsigned char value = 0;
  Backend& gpu = backend(DeviceType::cuda);
  gpu.fill(memory.data(), ++value, memory.bytes(), gpu.stream());
  gpu.sync(gpu.stream());
}

}  // namespace

Peak measure_peak(DeviceType device) {
  if (device == DeviceType::cpu) return {{{DType::f32, peak_flops()}}, peak_bytes()};
  return {{}, copied_bytes(device)};
}

void flush_caches(DeviceType device) {
  if (device == DeviceType::cuda) return flush_gpu();
  constexpr long unknown = 2L << 20;  // where the system does not tell the size
  static const auto part =
      static_cast<size_t>(2 * std::max(unknown, sysconf(_SC_LEVEL2_CACHE_SIZE)));
  static const Buffer memory(DeviceType::cpu, part * static_cast<size_t>(thread_count()));
  static int value = 0;
  ++value;
  const auto parts = static_cast<int64_t>(memory.bytes() / part);
  parallel_for(parts, [](int64_t i) {
    std::memset(memory.data() + static_cast<size_t>(i) * part, value, part);
  });
}

}  // namespace unetd::bench
