// Whether there is a GPU to test on.
#pragma once

#include "engine/base/error.h"
#include "engine/device/device.h"

#include <iostream>

namespace unetd {

// Opens the first GPU. Where there is none, says why on stdout, once: the test then has nothing to
// do.
inline bool gpu_is_there() {
  static const bool found = [] {
    try {
      return open_device("cuda") == DeviceType::cuda;
    } catch (const UserError& e) {
      std::cout << "skipped: " << e.what() << '\n';
      return false;
    }
  }();
  return found;
}

}  // namespace unetd
