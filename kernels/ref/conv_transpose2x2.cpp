#include "engine/op/conv_transpose2x2.h"

#include "kernels/ref/ref.h"

namespace unetd::ref {
namespace {

void forward(const ConvTranspose2x2& p, const ConvTranspose2x2::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const UpConvGeometry& g = p.geometry;
    const Shape out = g.y();
    const Features<const T> x(b.x, g.x), bias(b.bias, {1, 1, 1, g.k});
    const TransposedFilter<const T> w(b.w, g.filter());
    const auto y = cleared<Features<T>>(b.y, out);
    for_each_row(out, [&](int64_t n, int64_t row) {
      for (int64_t column = 0; column < out.w; ++column) {
        for (int64_t k = 0; k < g.k; ++k) {
          double sum = p.bias ? bias(k) : 0;
          for (int64_t c = 0; c < g.x.c; ++c) {
            sum += double{x(n, row / 2, column / 2, c)} * w(k, row % 2, column % 2, c);
          }
          y(n, row, column, k) = static_cast<T>(sum);
        }
      }
    });
  });
}

void data_grad(const ConvTranspose2x2DataGrad& p, const ConvTranspose2x2DataGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const UpConvGeometry& g = p.geometry;
    const Features<const T> dy(b.dy, g.y());
    const TransposedFilter<const T> w(b.w, g.filter());
    const auto dx = cleared<Features<T>>(b.dx, g.x);
    for_each_row(g.x, [&](int64_t n, int64_t i) {
      for (int64_t j = 0; j < g.x.w; ++j) {
        for (int64_t c = 0; c < g.x.c; ++c) {
          double sum = 0;
          for (int64_t tap = 0; tap < 4; ++tap) {
            const int64_t r = tap / 2, s = tap % 2;
            for (int64_t k = 0; k < g.k; ++k) {
              sum += double{dy(n, 2 * i + r, 2 * j + s, k)} * w(k, r, s, c);
            }
          }
          dx(n, i, j, c) = static_cast<T>(sum);
        }
      }
    });
  });
}

void weight_grad(const ConvTranspose2x2WeightGrad& p,
                 const ConvTranspose2x2WeightGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const UpConvGeometry& g = p.geometry;
    const Shape out = g.y();
    const Features<const T> x(b.x, g.x), dy(b.dy, out);
    const auto dw = cleared<TransposedFilter<T>>(b.dw, g.filter());
    const Features<T> dbias(b.dbias, {1, 1, 1, g.k});
    if (p.bias) dbias.clear();
    parallel_for(g.k, [&](int64_t k) {
      std::vector<double> sum(static_cast<size_t>(4 * g.x.c));
      double bias_sum = 0;
      for (int64_t pixel = 0; pixel < out.pixels(); ++pixel) {
        const int64_t n = pixel / (out.h * out.w), i = pixel / out.w % out.h, j = pixel % out.w;
        const double d = dy(n, i, j, k);
        bias_sum += d;
        double* to = &sum[static_cast<size_t>((i % 2 * 2 + j % 2) * g.x.c)];
        for (int64_t c = 0; c < g.x.c; ++c) to[c] += d * x(n, i / 2, j / 2, c);
      }
      for (int64_t at = 0; at < 4 * g.x.c; ++at) {
        const int64_t r = at / (2 * g.x.c), s = at / g.x.c % 2, c = at % g.x.c;
        dw(k, r, s, c) = static_cast<T>(sum[static_cast<size_t>(at)]);
      }
      if (p.bias) dbias(k) = static_cast<T>(bias_sum);
    });
  });
}

}  // namespace

void register_conv_transpose2x2() {
  add<forward, ConvTranspose2x2>();
  add<data_grad, ConvTranspose2x2DataGrad>();
  add<weight_grad, ConvTranspose2x2WeightGrad>();
}

}  // namespace unetd::ref
