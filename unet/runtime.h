// Sessions as the configuration's `runtime` keys want them.
#pragma once

#include "engine/autograd/session.h"
#include "unet/config.h"

namespace unetd {

// Opens the device.
SessionOptions session_options(const Config& config);

}  // namespace unetd
