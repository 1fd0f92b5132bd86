// Max-pooling, memory bound: forward reads 4 values, writes one and its place; backward the
// reverse.
#include "engine/op/maxpool2x2.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#include <cstring>

namespace unetd::UNETD_ISA {
namespace {

using Bytes = uint8_t __attribute__((vector_size(16)));

void forward(const MaxPool2x2& p, const MaxPool2x2::Buffers& b) {
  const Shape out = p.y();
  const int64_t line = p.x.w * block;
  parallel_for(out.n * blocks(out.c) * out.h, [&](int64_t row) {
    const int64_t plane = row / out.h, h = row % out.h;
    const float* x = static_cast<const float*>(b.x) + (plane * p.x.h + 2 * h) * line;
    float* y = static_cast<float*>(b.y) + row * out.w * block;
    uint8_t* argmax = b.argmax + row * out.w * block;
    for (int64_t w = 0; w < out.w; ++w) {
      Vec best = load(x + 2 * w * block);
      Mask place = {};
      for (int k = 1; k < 4; ++k) {
        const Vec v = load(x + (k / 2) * line + (2 * w + k % 2) * block);
        const Mask larger = (v > best) | (v != v);  // NaN spreads
        best = choose(larger, v, best);
        place = larger ? Mask{} + k : place;
      }
      store(y + w * block, best);
      const Bytes narrow = __builtin_convertvector(place, Bytes);
      std::memcpy(argmax + w * block, &narrow, block);
    }
  });
}

void backward(const MaxPool2x2Grad& p, const MaxPool2x2Grad::Buffers& b) {
  const Shape in = p.y();  // of dy
  const int64_t line = p.x.w * block;
  parallel_for(p.x.n * blocks(p.x.c) * p.x.h, [&](int64_t row) {
    const int64_t plane = row / p.x.h, h = row % p.x.h;
    float* dx = static_cast<float*>(b.dx) + row * line;
    if (h / 2 >= in.h) {  // the odd last row was not pooled
      std::memset(dx, 0, static_cast<size_t>(line) * sizeof(float));
      return;
    }
    const int64_t at = (plane * in.h + h / 2) * in.w * block;
    const float* dy = static_cast<const float*>(b.dy) + at;
    const int first = static_cast<int>(h % 2) * 2;
    for (int64_t w = 0; w < in.w; ++w) {
      Bytes narrow;
      std::memcpy(&narrow, b.argmax + at + w * block, block);
      const Mask place = __builtin_convertvector(narrow, Mask);
      const Vec g = load(dy + w * block);
      store(dx + 2 * w * block, choose(place == first, g, Vec{}));
      store(dx + (2 * w + 1) * block, choose(place == first + 1, g, Vec{}));
    }
    if (p.x.w % 2 != 0) store(dx + line - block, Vec{});
  });
}

}  // namespace

void register_maxpool2x2() {
  add_function<forward, MaxPool2x2>(DeviceType::cpu, isa_name, f32_only);
  add_function<backward, MaxPool2x2Grad>(DeviceType::cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
