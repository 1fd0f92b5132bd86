#include "engine/device/device.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/device/backend.h"

#include <charconv>
#include <fstream>

#include <dlfcn.h>

namespace unetd {
namespace {

// The N of "cuda:N", 0 for "cuda".
int cuda_index(std::string_view name) {
  if (name == "cuda") return 0;
  const std::string_view digits = name.substr(name.find(':') + 1);
  int index = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error != std::errc() || end != digits.data() + digits.size() || index < 0) {
    throw UsageError(str("device '", name, "': a GPU is given as cuda:0, cuda:1, ..."));
  }
  return index;
}

void open_cuda(int index) {
  if (const std::string reason = load_cuda(); !reason.empty()) throw UserError(reason);
  backend(DeviceType::cuda).open(index);
}

// Loading our library takes seconds where its parts are large; the driver alone is quickly found.
bool driver_is_installed() {
  static const bool found = dlopen("libcuda.so.1", RTLD_LAZY) != nullptr;
  return found;
}

DeviceType open_best() {
  std::string reason = "there is no NVIDIA driver";
  try {
    if (driver_is_installed()) {
      open_cuda(0);
      return DeviceType::cuda;
    }
  } catch (const Error& e) {
    reason = e.what();
  }
  // A build without CUDA has nothing to explain.
  if (!cuda_library_file().empty()) log_info("computing on the CPU: ", reason);
  return DeviceType::cpu;
}

}  // namespace

DeviceType open_device(std::string_view name) {
  if (name == "auto") {
    static const DeviceType best = open_best();
    return best;
  }
  if (name == "cpu") return DeviceType::cpu;
  if (name == "simt") return DeviceType::simt;
  if (name == "cuda" || name.starts_with("cuda:")) {
    const int index = cuda_index(name);
    try {
      open_cuda(index);
    } catch (const UserError& e) {
      throw UserError(str("device '", name, "': ", e.what(), "; --device cpu needs no GPU"));
    }
    return DeviceType::cuda;
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
