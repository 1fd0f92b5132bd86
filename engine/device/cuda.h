// The back end of CUDA devices. Part of the CUDA library only.
#pragma once

#include "engine/device/backend.h"

#include <memory>

namespace unetd::cuda {

std::unique_ptr<Backend> make_backend();

}  // namespace unetd::cuda
