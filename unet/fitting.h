// What is said where a device's memory runs out: how large the batch or the tile may be at most.
// Arenas of other sizes are planned for that, not taken.
#pragma once

#include "engine/base/error.h"
#include "engine/device/device.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace unetd {

struct SizeKey {
  const char* key;        // of the configuration, "training.batch"
  int64_t wanted;         // what was asked for
  int64_t step = 1;       // sizes are multiples of it
  const char* otherwise;  // what helps where not even one step fits
};
// Bytes of the arena for a size; larger sizes take no less. May throw Error for a size.
using ArenaOf = std::function<size_t(int64_t size)>;

// The largest size below the wanted one whose arena fits into so many bytes; 0: none.
int64_t largest_fitting(const SizeKey& size, size_t bytes, const ArenaOf& arena);

// "training.batch 4 would fit", for what is free on the device now.
std::string fitting_text(DeviceType device, const SizeKey& size, const ArenaOf& arena);

// make(), with what would fit added to the message where memory runs out.
template <class Make>
auto with_fitting(DeviceType device, const SizeKey& size, const ArenaOf& arena, Make&& make) {
  try {
    return make();
  } catch (const OutOfMemory& e) {
    throw OutOfMemory(str(e.what(), "; ", fitting_text(device, size, arena)));
  }
}

}  // namespace unetd
