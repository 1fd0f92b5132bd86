#include "engine/base/log.h"

#include <cstdlib>
#include <mutex>
#include <utility>

namespace unetd {
namespace {

LogSink& sink() {
  static LogSink instance;
  return instance;
}

}  // namespace

void set_log_sink(LogSink replacement) { sink() = std::move(replacement); }

void log(LogLevel level, const std::string& message) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (sink()) sink()(level, message);
}

bool verbose(const char* topic) {
  const char* list = std::getenv("UNETD_VERBOSE");
  if (list == nullptr) return false;
  return ("," + std::string(list) + ",").find("," + std::string(topic) + ",") != std::string::npos;
}

}  // namespace unetd
