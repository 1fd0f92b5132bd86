#include "engine/base/rng.h"

#include <cmath>
#include <numbers>

namespace unetd {

float Rng::normal() {
  const float u = 1.0F - uniform();  // (0, 1]: the logarithm stays finite
  const float v = uniform();
  return std::sqrt(-2.0F * std::log(u)) * std::cos(2.0F * std::numbers::pi_v<float> * v);
}

}  // namespace unetd
