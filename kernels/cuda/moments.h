// Mean and variance of the channels of an image, as batch normalisation takes them
// (engine/op/batch_norm.h): moments of chunks of pixels, by whoever has the pixels at hand, then
// one join for all of them.
#pragma once

#include "kernels/cuda/chunks.h"

#include <cmath>

namespace unetd::UNETD_GPU {

// --- device --------------------------------------------------------------------------------------

// Of a number of values of each channel: their mean and the sum of their squared deviations from
// it.
template <int N>
struct Moments {
  float count;
  float mean[N], squares[N];
};

// Chan, Golub and LeVeque (1979): no cancellation however large the mean is. How many digits are
// left of a variance that is small beside it is another matter: so whoever takes moments first
// subtracts a pivot, any one of the values, which costs none of their digits, and adds it to the
// mean at the end.
struct Chan {
  template <int N>
  SIMT_DEVICE Moments<N> operator()(Moments<N> a, const Moments<N>& b) const {
    if (b.count == 0) return a;
    const float count = a.count + b.count, share = b.count / count;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const float delta = b.mean[k] - a.mean[k];
      a.mean[k] += delta * share;
      a.squares[k] += b.squares[k] + delta * delta * (a.count * share);
    }
    a.count = count;
    return a;
  }
};

template <int size, int N>
SIMT_DEVICE Moments<N> moments_of(const Floats<N> (&v)[size]) {
  Moments<N> m{size, {}, {}};
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) {
    SIMT_UNROLL
    for (int i = 0; i < size; ++i) m.mean[k] += v[i].v[k];
    m.mean[k] *= 1.F / size;
    SIMT_UNROLL
    for (int i = 0; i < size; ++i) {
      const float d = v[i].v[k] - m.mean[k];
      m.squares[k] += d * d;
    }
  }
  return m;
}

// The results of a batch, (1, 1, 1, c) each; the running ones are updated.
struct Statistics {
  float *mean, *rstd, *running_mean, *running_var;
};
struct Smoothing {
  float eps, momentum;
};
// Those of channel c from the mean of `count` values and the sum of their squared deviations.
SIMT_DEVICE void store_statistics(const Statistics& out, const Smoothing& smoothing, int64_t c,
                                  double count, double mean, double squares) {
  const double var = squares / count, unbiased = count > 1 ? squares / (count - 1) : var;
  const double m = smoothing.momentum;
  out.mean[c] = static_cast<float>(mean);
  out.rstd[c] = static_cast<float>(1 / sqrt(var + smoothing.eps));
  out.running_mean[c] = static_cast<float>((1 - m) * out.running_mean[c] + m * mean);
  out.running_var[c] = static_cast<float>((1 - m) * out.running_var[c] + m * unbiased);
}

// --- host ----------------------------------------------------------------------------------------

// The results among a problem's buffers.
template <class Buffers>
Statistics statistics_in(const Buffers& b) {
  return {static_cast<float*>(b.mean), static_cast<float*>(b.rstd),
          static_cast<float*>(b.running_mean), static_cast<float*>(b.running_var)};
}

// A chunk's first row in `partial` is its mean, the second the sum of squared deviations.

// Writes those of an image's chunks.
void image_moments(float* partial, const void* x, DType dtype, const Tiles& t,
                   const Stream& stream);

// Floats that join_moments() needs: those of the chunks, which it is given there, and its own.
size_t moments_floats(const Chunks& chunks);
void join_moments(const Statistics& out, float* partial, const Chunks& chunks,
                  const Smoothing& smoothing, const Stream& stream);

}  // namespace unetd::UNETD_GPU
