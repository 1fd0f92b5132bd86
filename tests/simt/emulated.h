// Helpers for tests of the SIMT emulator: lane orders, and a child process for kernels whose bugs
// end the process or make a sanitizer write its report.
#pragma once

#include "engine/base/error.h"
#include "kernels/simt/sanitizer.h"
#include "kernels/simt/simt.h"

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

namespace unetd {

inline constexpr bool thread_sanitizer = simt::sanitizer::thread;
inline constexpr bool address_sanitizer = simt::sanitizer::address;

// Calls f() with the lanes in forward, reverse and several shuffled orders.
template <class F>
void in_every_order(F&& f) {
  const simt::Options before = simt::options();
  for (const simt::Options& options : {simt::Options{simt::Order::forward, 0},
                                       {simt::Order::reverse, 0},
                                       {simt::Order::shuffled, 1},
                                       {simt::Order::shuffled, 2}}) {
    simt::options() = options;
    f();
  }
  simt::options() = before;
}

// The text of the Error that f() throws; empty if it throws none.
inline std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

// What f() makes a child process write to stderr: the sanitizers' reports.
inline std::string stderr_of(const std::function<void()>& f) {
  int ends[2];
  UNETD_CHECK(pipe(ends) == 0, "no pipe");
  const pid_t child = fork();
  UNETD_CHECK(child >= 0, "no child process");
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    f();
    _exit(0);
  }
  close(ends[1]);
  std::string all;
  char part[4096];
  for (ssize_t n = 0; (n = read(ends[0], part, sizeof part)) > 0;) {
    all.append(part, static_cast<size_t>(n));
  }
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return all;
}

// `count` values in [-1, 1), the same in every run.
inline std::vector<float> random_values(size_t count, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(random() % 2048) / 1024.F - 1.F;
  return values;
}

inline bool has_nan(const std::vector<float>& values) {
  for (const float v : values) {
    if (std::isnan(v)) return true;
  }
  return false;
}

}  // namespace unetd
