// How far a program has come, on stderr: a live bar on a terminal, now and then a plain line
// elsewhere. Log lines go through here as well, so that they do not tear the bar.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace unetd::cli {

// How much is told. quiet: warnings and errors; verbose: debug messages, too.
enum class Verbosity : uint8_t { quiet, normal, verbose };

// Names the program in every line and sends the library's log here.
void open_log(const std::string& program, Verbosity verbosity);

// Has SIGINT, SIGTERM or SIGUSR1 (which batch systems send ahead of time) arrived? The first call
// starts the watching; from then on the program ends cleanly by itself at the next good moment. A
// second signal ends it at once.
bool interrupted();

// The progress of one task. One at a time; update() may be called from any thread and is cheap.
class Progress {
 public:
  // total: number of `unit`s to do.
  Progress(std::string what, int64_t total, std::string unit = "");
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` units are done; `note` is shown behind them. Throws Error after such a signal, so
  // that half-written files are removed, unless the program asks interrupted() itself.
  void update(int64_t done, const std::string& note = "");

 private:
  friend void log_line(const std::string& line);
  using Clock = std::chrono::steady_clock;
  std::string line() const;
  void draw();

  const std::string what_, unit_;
  const int64_t total_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = start_;
  int64_t done_ = 0;
  std::string note_;
};

}  // namespace unetd::cli
