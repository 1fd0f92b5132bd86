// Statistics of the bands of a store, taken while it is written: extremes, mean, deviation, and a
// histogram fine enough for percentiles of 8 and 16-bit samples to be exact.
#pragma once

#include "engine/base/dtype.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace unetd::io {

struct BandStatistics {
  // Values at 0, 1, 2, 5, 10, 25, 30, 50, 70, 75, 90, 95, 98, 99 and 100 percent.
  static constexpr std::array<double, 15> percents = {0,  1,  2,  5,  10, 25, 30, 50,
                                                      70, 75, 90, 95, 98, 99, 100};
  int64_t count = 0;
  double min = 0, max = 0, mean = 0, stddev = 0;
  std::array<double, 15> percentiles{};

  // Linear between the listed ones.
  double percentile(double percent) const;
  bool operator==(const BandStatistics&) const = default;
};

// Accumulates one band.
class StatisticsAccumulator {
 public:
  explicit StatisticsAccumulator(DType dtype) : dtype_(dtype), histogram_(bins) {}

  // `count` samples of the dtype, `step` elements apart; those with valid[i] == 0 are passed over.
  void add(const void* samples, const uint8_t* valid, int64_t count, int64_t step);
  BandStatistics result() const;

 private:
  static constexpr size_t bins = 65536;
  double percentile(double percent) const;

  DType dtype_;
  std::vector<int64_t> histogram_;
  int64_t count_ = 0;
  double min_ = 0, max_ = 0, mean_ = 0, squares_ = 0;
};

}  // namespace unetd::io
