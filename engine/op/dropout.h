// Dropout (Srivastava et al., 2014), scaled where it keeps.
#pragma once

#include "engine/base/host_device.h"
#include "engine/base/rng.h"
#include "engine/op/registry.h"

namespace unetd {

// y = x / (1 - rate) for the elements that are kept, 0 for the others, whatever they were. Which
// ones is a function of (seed, batch, element) alone: the same on every device, for every layout,
// and not stored, for the gradient is the same problem with dy in the place of x.
struct Dropout {
  static constexpr const char* name = "dropout";
  Shape shape;
  float rate = 0.5F;  // in [0, 1)
  uint64_t seed = 0;
  DType dtype = DType::f32;

  bool operator==(const Dropout&) const = default;
  UNETD_HOST_DEVICE constexpr float scale() const { return 1 / (1 - rate); }
  struct Buffers {
    const void* x;
    const int64_t* batch;  // one number, another one for every batch
    void* y;
  };
  Buffers bind(In in, Out out) const { return {in[0], static_cast<const int64_t*>(in[1]), out[0]}; }
};

// The random numbers of channels 4 * group to 4 * group + 3 of a pixel, counted over all images.
UNETD_HOST_DEVICE constexpr PhiloxWords dropout_words(uint64_t seed, int64_t batch, int64_t pixel,
                                                      int64_t group) {
  return philox({{static_cast<uint32_t>(group), static_cast<uint32_t>(pixel),
                  static_cast<uint32_t>(batch), static_cast<uint32_t>(batch >> 32)}},
                seed);
}
// Is the element of this number kept? Its upper 24 bits are a number in [0, 1).
UNETD_HOST_DEVICE constexpr bool dropout_keeps(uint32_t word, float rate) {
  return static_cast<float>(word >> 8) * 0x1p-24F >= rate;
}

}  // namespace unetd
