// What a device can do at most: the roofs that timings of operations are compared with.
#pragma once

#include "engine/base/dtype.h"
#include "engine/device/device.h"

#include <cstddef>
#include <map>

namespace unetd::bench {

struct Peak {
  // Operations a second by storage type, an FMA counted as two: of FMAs in registers on the CPU, of
  // a large matrix product elsewhere (ops.h).
  std::map<DType, double> flops;
  double bytes = 0;  // bytes a second in memory: of a triad on the CPU, of a copy elsewhere
};

// Memory that the triad streams through. Servers share last-level caches of hundreds of MiB, which
// arrays must exceed to measure memory.
inline constexpr size_t triad_bytes = size_t{512} << 20;

// Memory, and on the CPU f32 operations on all threads: the best of several short runs. Takes under
// a second.
Peak measure_peak(DeviceType device);

// Writes memory larger than the level 2 caches, of a GPU or of every thread, so that the next run
// finds its data no nearer than in the level behind.
void flush_caches(DeviceType device);

}  // namespace unetd::bench
