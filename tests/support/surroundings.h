// What a test puts around the code it looks at: environment variables, a listener for the log.
#pragma once

#include "engine/base/log.h"

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace unetd {

// An environment variable for as long as the object lives.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

// Log lines for as long as the object lives.
class Log {
 public:
  Log() {
    set_log_sink([this](LogLevel, const std::string& line) { lines.push_back(line); });
  }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  ~Log() { set_log_sink({}); }

  std::vector<std::string> lines;
};

}  // namespace unetd
