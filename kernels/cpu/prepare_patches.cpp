// Raw patches made an image, memory bound: reads the samples, writes their image. A row of the
// image is made block by block, so that it is written in order; what it reads in another order is
// small and stays in the caches.
#include "engine/op/prepare_patches.h"

#include "engine/base/pixel_type.h"
#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#include <algorithm>
#include <cstring>

namespace unetd::UNETD_ISA {
namespace {

// What the bands of one block need in one patch, constant by constant, for loops that the compiler
// makes vectors of. Lanes without a band are blanked.
struct Bands {
  float shift[block] = {}, scale[block] = {}, low[block] = {}, high[block] = {};
  float offset[block] = {}, kept[block] = {};
  const BandConstants* curves = nullptr;  // of all `curved` lanes, if there is a curve among them
  int64_t curved = 0;

  Bands(const BandConstants* constants, const BandDraw* draws, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const BandLine& line = constants[i].line;
      shift[i] = line.shift;
      scale[i] = line.scale;
      low[i] = line.low;
      high[i] = line.high;
      if (constants[i].slope != 0) curves = constants;
      offset[i] = draws[i].offset;
      kept[i] = draws[i].kept;
    }
    curved = curves == nullptr ? 0 : count;
  }
};

// `count` samples of a block. `whole`: 16 can be read there, whatever they are.
template <class T>
[[gnu::always_inline]] inline void prepare_block(const T* from, int64_t count, bool whole,
                                                 const Bands& k, float* to) {
  T samples[block] = {};
  if (whole) {
    std::memcpy(samples, from, sizeof samples);
  } else {
    std::memcpy(samples, from, static_cast<size_t>(count) * sizeof(T));
  }
  for (int64_t i = 0; i < block; ++i) {
    const BandLine line{k.shift[i], k.scale[i], k.low[i], k.high[i]};
    to[i] = drawn(normalised(static_cast<float>(samples[i]), line), {k.offset[i], k.kept[i]});
  }
  for (int64_t i = 0; i < k.curved; ++i) {
    if (k.curves[i].slope == 0) continue;
    const float y = normalised(static_cast<float>(samples[i]), k.curves[i]);
    to[i] = drawn(y, {k.offset[i], k.kept[i]});
  }
}

template <class T>
void prepare_row(const PreparePatches& p, const PreparePatches::Buffers& b, int64_t row) {
  const Shape& s = p.shape;
  const int64_t n = row / s.h, h = row % s.h;
  const PatchDraw draw = b.draws[n];
  const Walk walk = walk_of(draw.symmetry, s.h, s.w);
  const int64_t first = n * s.h * s.w + walk.start + h * walk.row_step;
  const T* samples = static_cast<const T*>(b.samples);
  for (int64_t part = 0; part < blocks(s.c); ++part) {
    const int64_t channel = part * block, count = std::min(block, s.c - channel);
    const Bands bands(b.bands + channel, b.band_draws + n * s.c + channel, count);
    float* y = static_cast<float*>(b.image) + ((n * blocks(s.c) + part) * s.h + h) * s.w * block;
    for (int64_t w = 0; w < s.w; ++w, y += block) {
      const int64_t pixel = first + w * walk.column_step, at = pixel * s.c + channel;
      if (b.valid[pixel] == 0 || erases(draw, h, w)) {
        std::fill_n(y, block, 0.0F);
      } else {
        prepare_block(samples + at, count, at + block <= s.count(), bands, y);
      }
    }
  }
}

template <class L>
void turn_labels(const PreparePatches& p, const PreparePatches::Buffers& b, int64_t row) {
  const Shape& s = p.shape;
  const int64_t n = row / s.h, h = row % s.h;
  const PatchDraw draw = b.draws[n];
  const Walk walk = walk_of(draw.symmetry, s.h, s.w);
  const L* labels =
      static_cast<const L*>(b.labels) + n * s.h * s.w + walk.start + h * walk.row_step;
  L* turned = static_cast<L*>(b.turned_labels) + row * s.w;
  for (int64_t w = 0; w < s.w; ++w) {
    turned[w] = erases(draw, h, w) ? ignored_label<L> : labels[w * walk.column_step];
  }
}

void prepare(const PreparePatches& p, const PreparePatches::Buffers& b) {
  with_pixel_type(p.samples, [&]<class T>(T) {
    parallel_for(p.shape.n * p.shape.h, [&](int64_t row) { prepare_row<T>(p, b, row); });
  });
  if (!p.labelled) return;
  with_label_type(p.labels, [&]<class L>(L) {
    parallel_for(p.shape.n * p.shape.h, [&](int64_t row) { turn_labels<L>(p, b, row); });
  });
}

}  // namespace

void register_prepare_patches() {
  add_function<prepare, PreparePatches>(DeviceType::cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
