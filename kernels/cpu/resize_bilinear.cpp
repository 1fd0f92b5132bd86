// Bilinear resizing. Rows and columns are separable; the taps of both axes are tabulated at the
// start of a run, since a tile's place in its scene is known only then.
#include "engine/op/resize_bilinear.h"

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

struct Forward final : Kernel<ResizeBilinear> {
  explicit Forward(const ResizeBilinear& p) : p_(p), out_(p.geometry.y()) {}
  size_t workspace() const override { return static_cast<size_t>(out_.h + out_.w) * sizeof(Tap); }
  void run(const ResizeBilinear::Buffers& b, void* workspace, Stream&) const override {
    const ResizeGeometry& g = p_.geometry;
    Tap* rows = static_cast<Tap*>(workspace);
    Tap* columns = rows + out_.h;
    tabulate(rows, g.rows(b.origin));
    tabulate(columns, g.columns(b.origin));
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
  static void tabulate(Tap* taps, const ResizeAxis& axis) {
    for (int64_t i = 0; i < axis.out; ++i) {
      const LinearTap tap = linear_tap(i, axis);
      taps[i] = {tap.low, tap.high, static_cast<float>(tap.t)};
    }
  }

  ResizeBilinear p_;
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

struct Backward final : Kernel<ResizeBilinearGrad> {
  explicit Backward(const ResizeBilinearGrad& p) : p_(p) {}
  size_t workspace() const override {
    return static_cast<size_t>(p_.geometry.x.h + p_.geometry.x.w) * sizeof(Readers);
  }
  void run(const ResizeBilinearGrad::Buffers& b, void* workspace, Stream&) const override {
    const Shape in = p_.geometry.x, out = p_.geometry.y();
    Readers* rows = static_cast<Readers*>(workspace);
    Readers* columns = rows + in.h;
    tabulate(rows, p_.geometry.rows());
    tabulate(columns, p_.geometry.columns());
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
  static void tabulate(Readers* readers, const ResizeAxis& axis) {
    for (int64_t i = 0; i < axis.in; ++i) readers[i] = {0, 0, {}};
    const auto note = [&](int64_t source, int64_t output, double weight) {
      if (weight == 0) return;
      Readers& r = readers[source];
      if (r.count == 0) r.first = output;
      // Outputs come in order, and twice in a row where both taps are clamped to one pixel.
      const int64_t at = output - r.first;
      UNETD_CHECK(at < Readers::most, "resizing reads pixel ", source, " too often");
      r.weight[at] += static_cast<float>(weight);
      r.count = static_cast<int>(at) + 1;
    };
    for (int64_t o = 0; o < axis.out; ++o) {
      const LinearTap tap = linear_tap(o, axis);
      note(tap.low, o, 1 - tap.t);
      note(tap.high, o, tap.t);
    }
  }

  ResizeBilinearGrad p_;
};

}  // namespace

void register_resize_bilinear() {
  const auto cpu = DeviceType::cpu;
  add_kernel<ResizeBilinear, Forward>(cpu, isa_name, f32_only);
  add_kernel<ResizeBilinearGrad, Backward>(cpu, isa_name, f32_only);
}

}  // namespace unetd::UNETD_ISA
