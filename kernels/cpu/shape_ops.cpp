// Operations that copy: whole channel blocks and rows, at the speed of memory.
#include "engine/op/shape_ops.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#include <algorithm>
#include <cstring>

namespace unetd::UNETD_ISA {
namespace {

constexpr int64_t copy_grain = int64_t{1} << 16;  // elements a task copies

void copy(const float* from, float* to, int64_t count) {
  parallel_chunks(count, copy_grain, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(float));
  });
}

template <class P>
const char* reject_unaligned(const P& p) {
  if (p.dtype != DType::f32) return "f32 only";
  return p.a.c % block == 0 ? nullptr : "channels of the first part do not fill blocks of 16";
}

// Elements of one image of the two parts.
int64_t part_a(const Shape& a) { return blocks(a.c) * a.h * a.w * block; }

void concat(const ConcatChannels& p, const ConcatChannels::Buffers& b) {
  const int64_t first = part_a(p.a), second = part_a(p.b());
  for (int64_t n = 0; n < p.a.n; ++n) {
    float* y = static_cast<float*>(b.y) + n * (first + second);
    copy(static_cast<const float*>(b.a) + n * first, y, first);
    copy(static_cast<const float*>(b.b) + n * second, y + first, second);
  }
}

void split(const SplitChannels& p, const SplitChannels::Buffers& b) {
  const int64_t first = part_a(p.a), second = part_a(p.b());
  for (int64_t n = 0; n < p.a.n; ++n) {
    const float* y = static_cast<const float*>(b.y) + n * (first + second);
    copy(y, static_cast<float*>(b.a) + n * first, first);
    copy(y + first, static_cast<float*>(b.b) + n * second, second);
  }
}

void pad(const Pad2d& p, const Pad2d::Buffers& b) {
  const Shape out = p.y();
  // Columns of y that come from x, and where they begin in either.
  const int64_t begin = std::clamp<int64_t>(p.left, 0, out.w);
  const int64_t end = std::clamp<int64_t>(p.left + p.x.w, begin, out.w);
  parallel_for(out.n * blocks(out.c) * out.h, [&](int64_t row) {
    const int64_t plane = row / out.h, source = row % out.h - p.top;
    float* y = static_cast<float*>(b.y) + row * out.w * block;
    if (source < 0 || source >= p.x.h) {
      std::fill_n(y, out.w * block, 0.0F);
      return;
    }
    const float* x = static_cast<const float*>(b.x) +
                     ((plane * p.x.h + source) * p.x.w + begin - p.left) * block;
    std::fill_n(y, begin * block, 0.0F);
    std::copy_n(x, (end - begin) * block, y + begin * block);
    std::fill_n(y + end * block, (out.w - end) * block, 0.0F);
  });
}

}  // namespace

void register_shape_ops() {
  const auto cpu = DeviceType::cpu;
  add_function<concat, ConcatChannels>(cpu, isa_name, reject_unaligned);
  add_function<split, SplitChannels>(cpu, isa_name, reject_unaligned);
  add_function<pad, Pad2d>(cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
