// The hand-written GPU kernels enter the registry: for the GPU, and for the emulator.
#pragma once

namespace unetd::cuda {
void register_kernels();  // in builds with nvcc
}
namespace unetd::simt_emu {
void register_kernels();
}
