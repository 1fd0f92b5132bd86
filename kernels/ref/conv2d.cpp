#include "engine/op/conv2d.h"

#include "engine/op/conv2d_stats.h"
#include "kernels/ref/statistics.h"

namespace unetd::ref {
namespace {

// Calls tap(r, s, row, column) for the kernel positions whose input pixel lies inside the image.
template <class F>
void for_each_tap(const ConvGeometry& g, int64_t i, int64_t j, F&& tap) {
  for (int64_t r = 0; r < g.r; ++r) {
    const int64_t row = i * g.stride + r - g.pad;
    if (row < 0 || row >= g.x.h) continue;
    for (int64_t s = 0; s < g.s; ++s) {
      const int64_t column = j * g.stride + s - g.pad;
      if (column >= 0 && column < g.x.w) tap(r, s, row, column);
    }
  }
}

void forward(const Conv2d& p, const Conv2d::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const ConvGeometry& g = p.geometry;
    const Shape out = g.y();
    const Features<const T> x(b.x, g.x), bias(b.bias, {1, 1, 1, g.k});
    const Filter<const T> w(b.w, g.filter());
    const auto y = cleared<Features<T>>(b.y, out);
    for_each_row(out, [&](int64_t n, int64_t i) {
      for (int64_t j = 0; j < out.w; ++j) {
        for (int64_t k = 0; k < g.k; ++k) {
          double sum = p.bias ? bias(k) : 0;
          for_each_tap(g, i, j, [&](int64_t r, int64_t s, int64_t row, int64_t column) {
            for (int64_t c = 0; c < g.x.c; ++c) {
              sum += double{x(n, row, column, c)} * w(k, r, s, c);
            }
          });
          y(n, i, j, k) = static_cast<T>(p.relu && sum < 0 ? 0 : sum);
        }
      }
    });
  });
}

void with_statistics(const Conv2dStats& p, const Conv2dStats::Buffers& b) {
  forward(p.convolution(), {b.x, b.w, b.bias, b.y});
  with_type(p.dtype, [&]<class T>(T) {
    const Shape s = p.geometry.y();
    const Features<const T> y(b.y, s);
    const Statistics<T> statistics(s.c, b.mean, b.rstd, b.running_mean, b.running_var);
    parallel_for(s.c, [&](int64_t c) { statistics.take(y, c, p.eps, p.momentum); });
  });
}

// Where the kernel position `tap` of an output lies for input position `at`: at = out * stride +
// tap - pad. Returns the output position, or -1 when there is none.
int64_t output_position(int64_t at, int64_t tap, int64_t outputs, const ConvGeometry& g) {
  const int64_t scaled = at + g.pad - tap;
  if (scaled < 0 || scaled % g.stride != 0) return -1;
  return scaled / g.stride < outputs ? scaled / g.stride : -1;
}

void data_grad(const Conv2dDataGrad& p, const Conv2dDataGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const ConvGeometry& g = p.geometry;
    const Shape out = g.y();
    const Features<const T> dy(b.dy, out);
    const Filter<const T> w(b.w, g.filter());
    const auto dx = cleared<Features<T>>(b.dx, g.x);
    for_each_row(g.x, [&](int64_t n, int64_t row) {
      std::vector<double> sum(static_cast<size_t>(g.x.c));
      for (int64_t column = 0; column < g.x.w; ++column) {
        std::fill(sum.begin(), sum.end(), 0.0);
        for (int64_t r = 0; r < g.r; ++r) {
          const int64_t i = output_position(row, r, out.h, g);
          for (int64_t s = 0; i >= 0 && s < g.s; ++s) {
            const int64_t j = output_position(column, s, out.w, g);
            for (int64_t k = 0; j >= 0 && k < g.k; ++k) {
              const double d = dy(n, i, j, k);
              for (int64_t c = 0; c < g.x.c; ++c) sum[static_cast<size_t>(c)] += d * w(k, r, s, c);
            }
          }
        }
        for (int64_t c = 0; c < g.x.c; ++c) {
          dx(n, row, column, c) = static_cast<T>(sum[static_cast<size_t>(c)]);
        }
      }
    });
  });
}

void weight_grad(const Conv2dWeightGrad& p, const Conv2dWeightGrad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const ConvGeometry& g = p.geometry;
    const Shape out = g.y();
    const Features<const T> x(b.x, g.x), dy(b.dy, out);
    const auto dw = cleared<Filter<T>>(b.dw, g.filter());
    const Features<T> dbias(b.dbias, {1, 1, 1, g.k});
    if (p.bias) dbias.clear();
    parallel_for(g.k, [&](int64_t k) {
      std::vector<double> sum(static_cast<size_t>(g.r * g.s * g.x.c));
      double bias_sum = 0;
      for (int64_t pixel = 0; pixel < out.pixels(); ++pixel) {
        const int64_t n = pixel / (out.h * out.w), i = pixel / out.w % out.h, j = pixel % out.w;
        const double d = dy(n, i, j, k);
        bias_sum += d;
        for_each_tap(g, i, j, [&](int64_t r, int64_t s, int64_t row, int64_t column) {
          double* to = &sum[static_cast<size_t>((r * g.s + s) * g.x.c)];
          for (int64_t c = 0; c < g.x.c; ++c) to[c] += d * x(n, row, column, c);
        });
      }
      for (int64_t at = 0; at < g.r * g.s * g.x.c; ++at) {
        const int64_t r = at / (g.s * g.x.c), s = at / g.x.c % g.s, c = at % g.x.c;
        dw(k, r, s, c) = static_cast<T>(sum[static_cast<size_t>(at)]);
      }
      if (p.bias) dbias(k) = static_cast<T>(bias_sum);
    });
  });
}

}  // namespace

void register_conv2d() {
  add<forward, Conv2d>();
  add<with_statistics, Conv2dStats>();
  add<data_grad, Conv2dDataGrad>();
  add<weight_grad, Conv2dWeightGrad>();
}

}  // namespace unetd::ref
