// Dropout: each group of four channels of a pixel has its four random numbers.
#include "engine/op/dropout.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

namespace unetd::UNETD_ISA {
namespace {

void dropout(const Dropout& p, const Dropout::Buffers& b) {
  const Shape s = p.shape;
  const int64_t planes = blocks(s.c);
  parallel_for(s.n * planes * s.h, [&](int64_t row) {
    const int64_t image = row / s.h / planes, plane = row / s.h % planes;
    const int64_t first = (image * s.h + row % s.h) * s.w;
    const float* x = static_cast<const float*>(b.x) + row * s.w * block;
    float* y = static_cast<float*>(b.y) + row * s.w * block;
    for (int64_t w = 0; w < s.w; ++w) {
      float factors[block];
      for (int64_t group = 0; group < block / 4; ++group) {
        const PhiloxWords words =
            dropout_words(p.seed, *b.batch, first + w, plane * (block / 4) + group);
        for (int64_t c = 0; c < 4; ++c) {
          factors[group * 4 + c] = dropout_keeps(words.v[c], p.rate) ? p.scale() : 0.0F;
        }
      }
      for (int64_t c = 0; c < block; ++c) {
        y[w * block + c] = factors[c] == 0 ? 0.0F : x[w * block + c] * factors[c];
      }
    }
  });
}

}  // namespace

void register_dropout() { add_function<dropout, Dropout>(DeviceType::cpu, isa_name, f32_only); }

}  // namespace unetd::UNETD_ISA
