// Bilinear up-sampling. Rows and columns are separable; the taps of both axes are tabulated at the
// start of a run, since a tile's place in its scene is known only then.
#include "engine/op/upsample2x.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

namespace unetd::UNETD_ISA {
namespace {

struct Tap {
  int64_t low, high;
  float t;
};

struct Forward final : Kernel<Upsample2x> {
  explicit Forward(const Upsample2x& p) : p_(p), out_(p.geometry.y()) {}
  size_t workspace() const override { return static_cast<size_t>(out_.h + out_.w) * sizeof(Tap); }
  void run(const Upsample2x::Buffers& b, void* workspace, Stream&) const override {
    const UpsampleGeometry& g = p_.geometry;
    Tap* rows = static_cast<Tap*>(workspace);
    Tap* columns = rows + out_.h;
    const int64_t y0 = b.origin == nullptr ? 0 : b.origin[0] / g.cell;
    const int64_t x0 = b.origin == nullptr ? 0 : b.origin[1] / g.cell;
    tabulate(rows, g.x.h, y0, g.scene_h);
    tabulate(columns, g.x.w, x0, g.scene_w);
    const int64_t line = g.x.w * block;
    parallel_for(out_.n * blocks(out_.c) * out_.h, [&](int64_t row) {
      const int64_t plane = row / out_.h;
      const Tap r = rows[row % out_.h];
      const float* low = static_cast<const float*>(b.x) + (plane * g.x.h + r.low) * line;
      const float* high = static_cast<const float*>(b.x) + (plane * g.x.h + r.high) * line;
      float* y = static_cast<float*>(b.y) + row * out_.w * block;
      for (int64_t w = 0; w < out_.w; ++w) {
        const Tap c = columns[w];
        const Vec top = mix(load(low + c.low * block), load(low + c.high * block), c.t);
        const Vec bottom = mix(load(high + c.low * block), load(high + c.high * block), c.t);
        store(y + w * block, mix(top, bottom, r.t));
      }
    });
  }

 private:
  static Vec mix(const Vec& a, const Vec& b, float t) { return a * (1 - t) + b * t; }
  void tabulate(Tap* taps, int64_t size, int64_t origin, int64_t scene) const {
    for (int64_t i = 0; i < 2 * size; ++i) {
      const LinearTap tap = upsample_tap(i, size, origin, scene, p_.geometry.align_corners);
      taps[i] = {tap.low, tap.high, static_cast<float>(tap.t)};
    }
  }

  Upsample2x p_;
  Shape out_;
};

// The outputs that read a source pixel: `count` of them from `first` on.
struct Readers {
  static constexpr int most =
      6;  // an axis doubled: 4 outputs, one more at a clamped end, and spare
  int64_t first;
  int count;
  float weight[most];
};

struct Backward final : Kernel<Upsample2xGrad> {
  explicit Backward(const Upsample2xGrad& p) : p_(p) {}
  size_t workspace() const override {
    return static_cast<size_t>(p_.geometry.x.h + p_.geometry.x.w) * sizeof(Readers);
  }
  void run(const Upsample2xGrad::Buffers& b, void* workspace, Stream&) const override {
    const Shape in = p_.geometry.x, out = p_.geometry.y();
    Readers* rows = static_cast<Readers*>(workspace);
    Readers* columns = rows + in.h;
    tabulate(rows, in.h);
    tabulate(columns, in.w);
    parallel_for(in.n * blocks(in.c) * in.h, [&](int64_t row) {
      const Readers& r = rows[row % in.h];
      const float* dy =
          static_cast<const float*>(b.dy) + (row / in.h * out.h + r.first) * out.w * block;
      float* dx = static_cast<float*>(b.dx) + row * in.w * block;
      for (int64_t w = 0; w < in.w; ++w) {
        const Readers& c = columns[w];
        Vec sum = {};
        for (int i = 0; i < r.count; ++i) {
          const float* at = dy + (i * out.w + c.first) * block;
          Vec line = {};
          for (int j = 0; j < c.count; ++j) line += load(at + j * block) * c.weight[j];
          sum += line * r.weight[i];
        }
        store(dx + w * block, sum);
      }
    });
  }

 private:
  void tabulate(Readers* readers, int64_t size) const {
    for (int64_t i = 0; i < size; ++i) readers[i] = {0, 0, {}};
    const auto note = [&](int64_t source, int64_t output, double weight) {
      if (weight == 0) return;
      Readers& r = readers[source];
      if (r.count == 0) r.first = output;
      // Outputs come in order, and twice in a row where both taps are clamped to one pixel.
      const int64_t at = output - r.first;
      UNETD_CHECK(at < Readers::most, "up-sampling reads pixel ", source, " too often");
      r.weight[at] += static_cast<float>(weight);
      r.count = static_cast<int>(at) + 1;
    };
    for (int64_t o = 0; o < 2 * size; ++o) {
      const LinearTap tap = upsample_tap(o, size, 0, 0, p_.geometry.align_corners);
      note(tap.low, o, 1 - tap.t);
      note(tap.high, o, tap.t);
    }
  }

  Upsample2xGrad p_;
};

}  // namespace

void register_upsample2x() {
  const auto cpu = DeviceType::cpu;
  add_kernel<Upsample2x, Forward>(cpu, isa_name, f32_only);
  add_kernel<Upsample2xGrad, Backward>(cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
