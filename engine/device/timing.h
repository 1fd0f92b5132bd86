// Times of repeated runs.
#pragma once

#include "engine/device/backend.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

namespace unetd {

template <class Run>
double seconds_of(Run&& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Calls run(), which returns its seconds, as often as fits into `budget` seconds, `prepare()`
// included, but at least three times. The first run warms up and is dropped, unless it alone takes
// the budget: then it is the only one.
template <class Prepare, class Run>
std::vector<double> repeat(double budget, Prepare&& prepare, Run&& run) {
  constexpr size_t least = 3;
  prepare();
  const double first = run();
  if (first >= budget) return {first};
  std::vector<double> seconds;
  for (double spent = first; spent < budget || seconds.size() < least;) {
    spent += seconds_of(prepare);
    spent += seconds.emplace_back(run());
  }
  return seconds;
}

// Time of what run() issues, on the device's own clock.
class DeviceTimer {
 public:
  explicit DeviceTimer(Backend& device)
      : stream_(device.stream()), before_(device.make_event()), after_(device.make_event()) {}
  template <class Run>
  double operator()(Run&& run) const {
    before_->record(stream_);
    run();
    after_->record(stream_);
    after_->wait();
    return after_->seconds_since(*before_);
  }

 private:
  Stream stream_;
  std::unique_ptr<Event> before_, after_;
};

// The median; of an even number of values the upper one.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace unetd
