#include "engine/base/error.h"
#include "engine/device/backend.h"

#include <system_error>

#include <dlfcn.h>

namespace unetd {
namespace {

namespace fs = std::filesystem;
constexpr const char* library = "libunetd_cuda.so";

std::string load() {
  const fs::path file = cuda_library_file();
  // Everything the library misses must be in the program, and is looked up now, not in mid-run.
  void* const handle = dlopen(file.empty() ? library : file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const why = dlerror();
    if (!file.empty()) return str("cannot load ", why);
    return str("this build has no CUDA back end (no ", library, " beside the program)");
  }
  using Register = bool (*)(const char* program);
  const auto enter = reinterpret_cast<Register>(dlsym(handle, "unetd_register_cuda"));
  if (enter != nullptr && enter(UNETD_VERSION)) return "";
  return str(file.empty() ? library : file.string(), " is not of unetd ", UNETD_VERSION,
             "; install programs and library together");
}

}  // namespace

fs::path cuda_library_file() {
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed).parent_path();
  for (const char* folder : {".", "../" UNETD_LIBRARY_FOLDER, "../lib"}) {
    fs::path candidate = program / folder / library;
    if (fs::exists(candidate, failed)) return candidate;
  }
  return {};
}

std::string load_cuda() {
  static const std::string reason = load();
  return reason;
}

}  // namespace unetd
