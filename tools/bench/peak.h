// What a device can do at most: the roofs that timings of operations are compared with.
#pragma once

#include "engine/device/device.h"

#include <cstddef>

namespace unetd::bench {

struct Peak {
  double flops = 0;  // f32 operations a second, an FMA counted as two; 0: not measured
  double bytes = 0;  // bytes a second in memory: of a triad on the CPU, of a copy elsewhere
};

// Memory that the triad streams through. Servers share last-level caches of hundreds of MiB, which
// arrays must exceed to measure memory.
inline constexpr size_t triad_bytes = size_t{512} << 20;

// The best of several short runs; on the CPU on all threads. Takes under a second.
Peak measure_peak(DeviceType device);

// Writes memory larger than the level 2 caches, of a GPU or of every thread, so that the next run
// finds its data no nearer than in the level behind.
void flush_caches(DeviceType device);

}  // namespace unetd::bench
