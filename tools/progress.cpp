#include "tools/progress.h"

#include "engine/base/error.h"
#include "engine/base/log.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <utility>

#include <unistd.h>

namespace unetd::cli {
namespace {

struct State {
  std::mutex mutex;
  std::string program = "unetd";
  Verbosity verbosity = Verbosity::normal;
  bool terminal = isatty(STDERR_FILENO) == 1;
  Progress* shown = nullptr;  // the bar on the terminal, to be redrawn under log lines
};

State& state() {
  static State instance;
  return instance;
}

volatile std::sig_atomic_t signal_seen = 0;
std::atomic<bool> program_asks{false};

void on_signal(int number) {
  signal_seen = 1;
  std::signal(number, SIG_DFL);  // the next one ends the program
}

void watch_signals() {
  static const bool installed = [] {
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);
    std::signal(SIGUSR1, on_signal);
    return true;
  }();
  static_cast<void>(installed);
}

std::string duration(double seconds) {
  const auto s = std::lround(seconds);
  char text[32];
  if (s < 60) {
    std::snprintf(text, sizeof text, "%.1f s", seconds);
  } else if (s >= 3600) {
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  } else {
    std::snprintf(text, sizeof text, "%ld:%02ld", s / 60, s % 60);
  }
  return text;
}

}  // namespace

// Writes a line above the bar. Called with the mutex held.
void log_line(const std::string& line) {
  State& s = state();
  if (s.shown != nullptr) std::fputs("\r\x1b[K", stderr);
  std::fprintf(stderr, "%s\n", line.c_str());
  if (s.shown != nullptr) s.shown->draw();
}

void open_log(const std::string& program, Verbosity verbosity) {
  state().program = program;
  state().verbosity = verbosity;
  set_log_sink([](LogLevel level, const std::string& message) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    if (level == LogLevel::warning) {
      log_line(s.program + ": warning: " + message);
    } else if (s.verbosity == Verbosity::verbose ||
               (s.verbosity == Verbosity::normal && level == LogLevel::info)) {
      log_line(s.program + ": " + message);
    }
  });
}

bool interrupted() {
  program_asks = true;
  watch_signals();
  return signal_seen != 0;
}

Progress::Progress(std::string what, int64_t total, std::string unit)
    : what_(std::move(what)), unit_(std::move(unit)), total_(std::max<int64_t>(total, 1)) {
  watch_signals();
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.terminal && s.verbosity != Verbosity::quiet) {
    s.shown = this;
    draw();
  }
}

Progress::~Progress() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.shown == this) {
    std::fputs("\r\x1b[K", stderr);
    s.shown = nullptr;
  }
  if (s.verbosity != Verbosity::quiet && done_ > 0) log_line(s.program + ": " + line());
}

void Progress::update(int64_t done, const std::string& note) {
  if (signal_seen != 0 && !program_asks) throw Error("interrupted");
  State& s = state();
  const std::lock_guard lock(s.mutex);
  done_ = done;
  note_ = note;
  const Clock::time_point now = Clock::now();
  if (s.shown == this && now - shown_ > std::chrono::milliseconds(100)) {
    shown_ = now;
    draw();
  } else if (!s.terminal && s.verbosity != Verbosity::quiet &&
             now - shown_ > std::chrono::seconds(20)) {
    shown_ = now;
    log_line(s.program + ": " + line());
  }
}

// "tiles 45% (123 of 270), 12.3 s, 15.0 s left, note"; the time left is not known before work is
// done.
std::string Progress::line() const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const double share = static_cast<double>(done_) / static_cast<double>(total_);
  std::string text = str(what_, " ", static_cast<int>(share * 100), "%");
  if (!unit_.empty()) text += str(" (", done_, " of ", total_, " ", unit_, ")");
  text += ", " + duration(elapsed);
  if (done_ > 0 && done_ < total_) text += ", " + duration(elapsed / share - elapsed) + " left";
  if (!note_.empty()) text += ", " + note_;
  return text;
}

void Progress::draw() {
  constexpr int64_t width = 24;
  const int64_t filled = std::clamp<int64_t>(width * done_ / total_, 0, width);
  const std::string bar(static_cast<size_t>(filled), '#');
  std::fprintf(stderr, "\r\x1b[K[%-*s] %s", static_cast<int>(width), bar.c_str(), line().c_str());
  std::fflush(stderr);
}

}  // namespace unetd::cli
