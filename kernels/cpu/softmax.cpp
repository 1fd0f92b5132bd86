// Softmax over up to 16 channels, one vector a pixel, and the sigmoid of every channel. NaN gives
// NaN.
#include "engine/base/threads.h"
#include "engine/op/pointwise.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/lanes.h"

#include <algorithm>

namespace unetd::UNETD_ISA {
namespace {

const char* reject(const Softmax& p) {
  if (p.dtype != DType::f32) return "f32 only";
  return p.shape.c <= block ? nullptr : "more than 16 classes";
}

// f(x, y, channels that exist) for every block of channels of every pixel.
template <class F>
void for_each_vector(const Shape& s, const detail::Unary::Buffers& b, F&& f) {
  const int64_t groups = blocks(s.c);
  parallel_for(s.n * groups * s.h, [&](int64_t row) {
    const int64_t first = row / s.h % groups * block;
    const Mask valid = lanes < static_cast<int>(std::min(s.c - first, block));
    const float* x = static_cast<const float*>(b.x) + row * s.w * block;
    float* y = static_cast<float*>(b.y) + row * s.w * block;
    for (int64_t i = 0; i < s.w * block; i += block) f(x + i, y + i, valid);
  });
}

void softmax(const Softmax& p, const Softmax::Buffers& b) {
  for_each_vector(p.shape, b, [&](const float* from, float* to, const Mask& valid) {
    const Vec x = load(from);
    const float most = horizontal_max(choose(valid, x, splat(x[0])));
    const Vec e = choose(valid, exp_nonpositive(choose(valid, x - most, Vec{})), Vec{});
    store(to, e / horizontal_sum(e));
  });
}

// exp of what is negative only: neither overflows nor loses what is near 0.
void sigmoid(const Sigmoid& p, const Sigmoid::Buffers& b) {
  for_each_vector(p.shape, b, [&](const float* from, float* to, const Mask& valid) {
    const Vec x = load(from);
    const Vec e = exp_nonpositive(choose(valid, choose(x < 0, x, -x), Vec{}));
    store(to, choose(valid, choose(x < 0, e, splat(1)) / (1 + e), Vec{}));
  });
}

}  // namespace

void register_softmax() {
  add_function<softmax, Softmax>(DeviceType::cpu, isa_name, reject);
  add_function<sigmoid, Sigmoid>(DeviceType::cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
