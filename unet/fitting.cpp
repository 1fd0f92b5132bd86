#include "unet/fitting.h"

#include "engine/device/backend.h"

namespace unetd {

int64_t largest_fitting(const SizeKey& size, size_t bytes, const ArenaOf& arena) {
  const auto fits = [&](int64_t steps) {
    try {
      return arena(steps * size.step) <= bytes;
    } catch (const Error&) {  // larger than kernels or the plan can be
      return false;
    }
  };
  int64_t fitting = 0, too_large = (size.wanted + size.step - 1) / size.step;
  while (too_large - fitting > 1) {
    const int64_t middle = fitting + (too_large - fitting) / 2;
    (fits(middle) ? fitting : too_large) = middle;
  }
  return fitting * size.step;
}

std::string fitting_text(DeviceType device, const SizeKey& size, const ArenaOf& arena) {
  const size_t free = backend(device).info().free_bytes;
  // Libraries load their kernels later, and a captured graph takes memory of its own.
  const size_t usable = free - free / 16;
  const int64_t fitting = largest_fitting(size, usable, arena);
  if (fitting > 0) return str(size.key, " ", fitting, " would fit");
  return str("not even ", size.key, " ", size.step, " would fit: ", size.otherwise);
}

}  // namespace unetd
