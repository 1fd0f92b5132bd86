// Seeded random images for tests of whole networks.
#pragma once

#include "engine/base/rng.h"
#include "engine/tensor/tensor.h"

namespace unetd {

// Uniform in [-1, 1), f32.
inline Tensor random_image(Shape shape, uint64_t seed) {
  Tensor t(shape, DType::f32);
  Rng rng(seed);
  for (float& x : t.span<float>()) x = rng.uniform(-1, 1);
  return t;
}

}  // namespace unetd
