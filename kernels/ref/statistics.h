// The statistics of a batch (engine/op/batch_norm.h), channel by channel.
#pragma once

#include "kernels/ref/ref.h"

#include <algorithm>
#include <cmath>

namespace unetd::ref {

// visit(n, h, w) for every pixel.
template <class F>
void for_each_pixel(const Shape& s, F&& visit) {
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t h = 0; h < s.h; ++h) {
      for (int64_t w = 0; w < s.w; ++w) visit(n, h, w);
    }
  }
}

// Where the statistics of all channels lie. mean and rstd are cleared when it is made.
template <class T>
class Statistics {
 public:
  Statistics(int64_t channels, void* mean, void* rstd, void* running_mean, void* running_var)
      : mean_(cleared<Features<T>>(mean, {1, 1, 1, channels})),
        rstd_(cleared<Features<T>>(rstd, {1, 1, 1, channels})),
        running_mean_(running_mean, {1, 1, 1, channels}),
        running_var_(running_var, {1, 1, 1, channels}) {}

  struct Channel {
    double mean, rstd;
  };
  // Those of channel c of x.
  Channel take(const Features<const T>& x, int64_t c, double eps, double momentum) const {
    const auto count = static_cast<double>(x.shape().pixels());
    double sum = 0, squares = 0;
    for_each_pixel(x.shape(), [&](int64_t n, int64_t h, int64_t w) { sum += x(n, h, w, c); });
    const double m = sum / count;
    for_each_pixel(x.shape(), [&](int64_t n, int64_t h, int64_t w) {
      const double d = x(n, h, w, c) - m;
      squares += d * d;
    });
    const double r = 1 / std::sqrt(squares / count + eps);
    const double unbiased = squares / std::max(count - 1, 1.0);
    mean_(c) = static_cast<T>(m);
    rstd_(c) = static_cast<T>(r);
    running_mean_(c) = static_cast<T>((1 - momentum) * running_mean_(c) + momentum * m);
    running_var_(c) = static_cast<T>((1 - momentum) * running_var_(c) + momentum * unbiased);
    return {m, r};
  }

 private:
  Features<T> mean_, rstd_, running_mean_, running_var_;
};

}  // namespace unetd::ref
