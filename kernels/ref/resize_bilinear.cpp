#include "engine/op/resize_bilinear.h"

#include "kernels/ref/ref.h"

namespace unetd::ref {
namespace {

void forward(const ResizeBilinear& p, const ResizeBilinear::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const ResizeGeometry& g = p.geometry;
    const Shape out = g.y();
    const ResizeAxis rows = g.rows(b.origin), columns = g.columns(b.origin);
    const Features<const T> x(b.x, g.x);
    const auto y = cleared<Features<T>>(b.y, out);
    for_each_row(out, [&](int64_t n, int64_t i) {
      const LinearTap v = linear_tap(i, rows);
      for (int64_t j = 0; j < out.w; ++j) {
        const LinearTap u = linear_tap(j, columns);
        for (int64_t c = 0; c < out.c; ++c) {
          const double top = (1 - u.t) * x(n, v.low, u.low, c) + u.t * x(n, v.low, u.high, c);
          const double below = (1 - u.t) * x(n, v.high, u.low, c) + u.t * x(n, v.high, u.high, c);
          y(n, i, j, c) = static_cast<T>((1 - v.t) * top + v.t * below);
        }
      }
    });
  });
}

// The outputs of a line that read source element `index`, with their weights.
struct Use {
  int64_t output;
  double weight;
};
std::vector<std::vector<Use>> uses(const ResizeAxis& axis) {
  std::vector<std::vector<Use>> of(static_cast<size_t>(axis.in));
  for (int64_t i = 0; i < axis.out; ++i) {
    const LinearTap tap = linear_tap(i, axis);
    of[static_cast<size_t>(tap.low)].push_back({i, 1 - tap.t});
    of[static_cast<size_t>(tap.high)].push_back({i, tap.t});
  }
  return of;
}

void grad(const ResizeBilinearGrad& p, const ResizeBilinearGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const ResizeGeometry& g = p.geometry;
    const Features<const T> dy(b.dy, g.y());
    const auto dx = cleared<Features<T>>(b.dx, g.x);
    const auto rows = uses(g.rows()), columns = uses(g.columns());
    for_each_row(g.x, [&](int64_t n, int64_t h) {
      for (int64_t w = 0; w < g.x.w; ++w) {
        for (int64_t c = 0; c < g.x.c; ++c) {
          double sum = 0;
          for (const Use& v : rows[static_cast<size_t>(h)]) {
            for (const Use& u : columns[static_cast<size_t>(w)]) {
              sum += v.weight * u.weight * dy(n, v.output, u.output, c);
            }
          }
          dx(n, h, w, c) = static_cast<T>(sum);
        }
      }
    });
  });
}

const char* reject_grad(const ResizeBilinearGrad& p) {
  return p.geometry.windowed() ? "gradient of a window" : only_f32_and_f64(p);
}

}  // namespace

void register_resize_bilinear() {
  add<forward, ResizeBilinear>();
  add_function<grad, ResizeBilinearGrad>(DeviceType::cpu, "ref", reject_grad);
}

}  // namespace unetd::ref
