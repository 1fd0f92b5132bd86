// Timings of operations by themselves: every implementation on the realistic problems of its cases,
// in every type that the device stores images in.
#pragma once

#include "engine/op/tune_store.h"
#include "tools/bench/peak.h"

#include <functional>
#include <string>
#include <vector>

namespace unetd::bench {

struct OpsOptions {
  DeviceType device = DeviceType::cpu;
  std::string filter;          // part of the case's text; empty: all
  std::string impl;            // this implementation only; empty: all
  double seconds = 0.5;        // for each implementation of each case
  TuneStore* tuned = nullptr;  // gets the fastest of each case; saving it is the caller's
};

struct OpTiming {
  std::string implementation;
  double seconds = 0;  // median
  size_t runs = 0;
  bool rounds = false;  // more than the numerics contract has: no choice for runtime.tune
};

// One problem with every implementation that takes it, in the registry's order of preference.
struct OpCase {
  std::string problem, text;  // "conv2d", "conv2d f32: x ..."
  DType dtype = DType::f32;   // of its images
  double bytes = 0;           // that must be moved at least
  double flops = 0;           // 0 for operations that are no matrix products
  std::vector<OpTiming> timings;

  const OpTiming& fastest() const;
  // What the roofs allow, as a share of what `timing` took. Above 1 where data stay in the level 3
  // cache, or where an algorithm needs fewer operations than the definition (Winograd).
  double share_of_peak(const OpTiming& timing, const Peak& peak) const;
};

// What the device can do at most: measure_peak(), and for devices but the CPU the fastest
// implementation's rate in a matrix product, in every storage type.
Peak measure_roofs(DeviceType device);

// Calls `done` after each case. Kernels must be registered.
void time_ops(const OpsOptions& options, const std::function<void(const OpCase&)>& done);

}  // namespace unetd::bench
