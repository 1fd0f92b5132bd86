#include "engine/device/device.h"

#include "engine/base/error.h"

#include <fstream>

namespace unetd {

DeviceType open_device(std::string_view name) {
  if (name == "auto" || name == "cpu") return DeviceType::cpu;
  if (name == "simt") return DeviceType::simt;
  if (name == "cuda" || name.starts_with("cuda:")) {
    throw UserError(str("device '", name, "': this build has no CUDA back end; use --device cpu"));
  }
  throw UsageError(str("device '", name, "' is not one of auto, cpu, cuda, cuda:N, simt"));
}

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace unetd
