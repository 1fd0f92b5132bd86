// Messages from the library. It is silent until a program installs a sink; warnings and notes then
// go there, never straight to stdout or stderr.
#pragma once

#include "engine/base/error.h"

#include <cstdint>
#include <functional>
#include <string>

namespace unetd {

enum class LogLevel : uint8_t { debug, info, warning };
using LogSink = std::function<void(LogLevel, const std::string&)>;

// Replaces the sink; an empty one silences the library. Not meant to be called while threads log.
void set_log_sink(LogSink sink);
void log(LogLevel level, const std::string& message);

template <class... T>
void log_info(const T&... parts) {
  log(LogLevel::info, str(parts...));
}
template <class... T>
void log_warning(const T&... parts) {
  log(LogLevel::warning, str(parts...));
}

// Is `topic` among the comma-separated words of the environment variable UNETD_VERBOSE?
// Topics: kernels (what each node runs on and why others declined), memory, time.
bool verbose(const char* topic);

}  // namespace unetd
