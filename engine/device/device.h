// Where a session computes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace unetd {

// simt executes the CUDA kernels on the CPU, one fiber a GPU thread: for tests, not for speed.
enum class DeviceType : uint8_t { cpu, simt, cuda };
inline constexpr int device_types = 3;

constexpr std::string_view name_of(DeviceType d) {
  constexpr std::string_view names[] = {"cpu", "simt", "cuda"};
  return names[static_cast<size_t>(d)];
}

// The queue that kernels are issued to. On cpu and simt they run at once.
struct Stream {
  DeviceType device = DeviceType::cpu;
  void* native = nullptr;  // cudaStream_t
};

// "auto", "cpu", "simt", "cuda" or "cuda:N" -> the device, opened for this process. "auto" is the
// first GPU where there is one, else the CPU; where a build with CUDA finds none, it says why once.
// Throws UsageError for another word and UserError when that device is not there.
DeviceType open_device(std::string_view name);

// The processor's model name, as the operating system tells it.
std::string cpu_name();

}  // namespace unetd
