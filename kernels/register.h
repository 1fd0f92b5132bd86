// The one list of kernel back ends.
#pragma once

namespace unetd {

// Fills the registry (engine/op/registry.h) for every device of this build, best implementation
// first. Programs and tests call it once before they make a session; further calls do nothing.
void register_kernels();

}  // namespace unetd
