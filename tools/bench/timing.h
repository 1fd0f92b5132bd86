// Wall-clock times of repeated runs.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

namespace unetd::bench {

template <class Run>
double seconds_of(Run&& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Runs as often as fits into `budget` seconds, `prepare()` included, but at least three times. The
// first run warms up and is dropped, unless it alone takes the budget: then it is the only one.
template <class Prepare, class Run>
std::vector<double> repeat(double budget, Prepare&& prepare, Run&& run) {
  constexpr size_t least = 3;
  prepare();
  const double first = seconds_of(run);
  if (first >= budget) return {first};
  std::vector<double> seconds;
  for (double spent = first; spent < budget || seconds.size() < least;) {
    spent += seconds_of(prepare);
    spent += seconds.emplace_back(seconds_of(run));
  }
  return seconds;
}

// The median; of an even number of values the upper one.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace unetd::bench
