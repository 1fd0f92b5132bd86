// Statistics of the bands of a store, taken while it is written: extremes, mean, deviation, and a
// histogram fine enough for percentiles of 8 and 16-bit samples to be exact.
#pragma once

#include "engine/base/dtype.h"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace unetd::io {

struct BandStatistics {
  // Values at 0, 1, 2, 5, 10, 25, 30, 50, 70, 75, 90, 95, 98, 99 and 100 percent.
  static constexpr std::array<double, 15> percents = {0,  1,  2,  5,  10, 25, 30, 50,
                                                      70, 75, 90, 95, 98, 99, 100};
  int64_t count = 0;  // pixels where every band has data; on these all but the next line is based
  int64_t pixels = 0, nodata = 0;  // all there are, and those that lack data in this band
  int64_t saturated = 0;           // among `count`
  double min = 0, max = 0, mean = 0, stddev = 0;
  std::array<double, 15> percentiles{};

  // Linear between the listed ones.
  double percentile(double percent) const;
  // Shares of all pixels; 0 where there are none.
  double nodata_share() const { return share(nodata); }
  double saturated_share() const { return share(saturated); }
  bool operator==(const BandStatistics&) const = default;

 private:
  double share(int64_t part) const {
    return pixels == 0 ? 0 : static_cast<double>(part) / static_cast<double>(pixels);
  }
};

// Accumulates one band.
class StatisticsAccumulator {
 public:
  // `nodata` and `saturated` are stored values, as in SceneBand.
  explicit StatisticsAccumulator(DType dtype, std::optional<double> nodata = {},
                                 std::optional<double> saturated = {})
      : dtype_(dtype), nodata_(nodata), saturated_(saturated), histogram_(bins) {}

  // `count` samples of the dtype, `step` elements apart. Where valid[i] == 0 they are passed over,
  // but those that are nodata are counted.
  void add(const void* samples, const uint8_t* valid, int64_t count, int64_t step);
  // So many of the pixels passed over lack data although their samples do not say so.
  void add_missing(int64_t pixels) { statistics_.nodata += pixels; }
  BandStatistics result() const;
  // The shares of the samples in `columns` equal parts of [low, high). Each bin is spread evenly
  // over the values that it stands for.
  std::vector<double> histogram(double low, double high, size_t columns) const;

 private:
  static constexpr size_t bins = 65536;
  double percentile(double percent) const;

  DType dtype_;
  std::optional<double> nodata_, saturated_;
  std::vector<int64_t> histogram_;
  BandStatistics statistics_;  // without deviation and percentiles
  double squares_ = 0;
};

}  // namespace unetd::io
