// What this machine can do at most: the roofs that timings of operations are compared with.
#pragma once

#include <cstddef>

namespace unetd::bench {

struct Peak {
  double flops = 0;  // f32 operations a second, an FMA counted as two
  double bytes = 0;  // bytes a second of a triad in memory
};

// Memory that the triad streams through. Servers share last-level caches of hundreds of MiB, which
// arrays must exceed to measure memory.
inline constexpr size_t triad_bytes = size_t{512} << 20;

// The best of several short runs, on all threads. Takes under a second.
Peak measure_peak();

// Writes a buffer larger than the level 2 caches on every thread, so that the next run finds its
// data no nearer than in the level 3 cache.
void flush_caches();

}  // namespace unetd::bench
