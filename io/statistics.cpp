#include "io/statistics.h"

#include "engine/base/pixel_type.h"
#include "io/stated_value.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

namespace unetd::io {
namespace {

// The bin of a sample, in the order of the values. A float goes by its upper 16 bits (sign,
// exponent, 7 bits of fraction), made monotonic: no range need be known beforehand and outliers do
// no harm.
template <class T>
uint32_t bin_of(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    const auto bits = std::bit_cast<uint32_t>(value);
    return ((bits >> 31) != 0 ? ~bits : bits | 0x80000000U) >> 16;
  } else {
    return static_cast<uint32_t>(int32_t{value} - int32_t{std::numeric_limits<T>::min()});
  }
}

// The least value of a bin.
double bin_start(DType dtype, uint32_t bin) {
  if (dtype == DType::i16) return static_cast<double>(bin) - 32768;
  if (dtype != DType::f32) return bin;
  const uint32_t key = bin << 16;
  return std::bit_cast<float>((key >> 31) != 0 ? key & 0x7FFFFFFFU : ~key);
}

}  // namespace

double BandStatistics::percentile(double percent) const {
  const auto above = std::lower_bound(percents.begin(), percents.end(), percent);
  const auto i = static_cast<size_t>(std::min(above, percents.end() - 1) - percents.begin());
  if (i == 0) return percentiles[0];
  const double t = (percent - percents[i - 1]) / (percents[i] - percents[i - 1]);
  return percentiles[i - 1] + t * (percentiles[i] - percentiles[i - 1]);
}

void StatisticsAccumulator::add(const void* samples, const uint8_t* valid, int64_t count,
                                int64_t step) {
  BandStatistics& s = statistics_;
  s.pixels += count;
  with_pixel_type(dtype_, [&](auto zero) {
    const auto* from = static_cast<const decltype(zero)*>(samples);
    for (int64_t i = 0; i < count; ++i) {
      const auto sample = from[i * step];
      if (valid[i] == 0) {
        s.nodata += lacks_data(sample, nodata_) ? 1 : 0;
        continue;
      }
      if (saturated_ && is_stated_value(sample, *saturated_)) ++s.saturated;
      const auto value = static_cast<double>(sample);
      s.min = s.count == 0 ? value : std::min(s.min, value);
      s.max = s.count == 0 ? value : std::max(s.max, value);
      // Welford's update: no cancellation when the mean is far from zero.
      const double delta = value - s.mean;
      s.mean += delta / static_cast<double>(++s.count);
      squares_ += delta * (value - s.mean);
      ++histogram_[bin_of(sample)];
    }
  });
}

// The sample of that rank; within a bin of floats, by interpolation over it.
double StatisticsAccumulator::percentile(double percent) const {
  const double rank = percent / 100 * static_cast<double>(statistics_.count - 1);
  double before = 0;
  for (uint32_t bin = 0; bin < bins; ++bin) {
    const auto here = static_cast<double>(histogram_[bin]);
    if (here == 0 || before + here <= rank) {
      before += here;
      continue;
    }
    const double start = bin_start(dtype_, bin);
    if (dtype_ != DType::f32) return start;
    const double end = bin_start(dtype_, std::min<uint32_t>(bin + 1, bins - 1));
    return std::clamp(start + (end - start) * (rank - before + 0.5) / here, statistics_.min,
                      statistics_.max);
  }
  return statistics_.max;
}

BandStatistics StatisticsAccumulator::result() const {
  BandStatistics s = statistics_;
  if (s.count == 0) return s;
  s.stddev = std::sqrt(squares_ / static_cast<double>(s.count));
  for (size_t i = 0; i < s.percents.size(); ++i) s.percentiles[i] = percentile(s.percents[i]);
  s.percentiles.front() = s.min;
  s.percentiles.back() = s.max;
  return s;
}

std::vector<double> StatisticsAccumulator::histogram(double low, double high,
                                                     size_t columns) const {
  UNETD_CHECK(high > low && columns > 0, "a histogram from ", low, " to ", high);
  std::vector<double> shares(columns);
  const double width = (high - low) / static_cast<double>(columns);
  const double half = dtype_ == DType::f32 ? 0 : 0.5;  // integers stand for what rounds to them
  for (uint32_t bin = 0; bin < bins; ++bin) {
    if (histogram_[bin] == 0) continue;
    const double start = bin_start(dtype_, bin) - half;
    const double end = dtype_ == DType::f32 ? bin_start(dtype_, bin + 1) : start + 1;
    const double from = std::max((start - low) / width, 0.0);
    const double to = std::min((end - low) / width, static_cast<double>(columns));
    const double density = static_cast<double>(histogram_[bin]) /
                           static_cast<double>(statistics_.count) * width / (end - start);
    for (double at = from; at < to; at = std::floor(at) + 1)
      shares[static_cast<size_t>(at)] += density * (std::min(std::floor(at) + 1, to) - at);
  }
  return shares;
}

}  // namespace unetd::io
