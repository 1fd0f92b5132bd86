#include "engine/base/cache.h"

#include <cstdint>
#include <cstdlib>
#include <sstream>

namespace unetd {

std::filesystem::path cache_folder() {
  const auto folder = [](const char* variable) -> std::filesystem::path {
    const char* const value = std::getenv(variable);
    return value == nullptr ? "" : value;
  };
  if (const auto cache = folder("XDG_CACHE_HOME"); !cache.empty()) return cache / "unetd";
  const auto home = folder("HOME");
  return home.empty() ? home : home / ".cache" / "unetd";
}

std::string checksum(std::string_view content) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : content) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::ostringstream digits;
  digits << std::hex << h;
  return digits.str();
}

}  // namespace unetd
