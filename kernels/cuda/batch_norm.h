// What the kernels of batch normalisation share, those with and those without pooling: the formula,
// its parameters, and how sums over pixels are taken.
//
// The image is taken in tiles of channels: a thread has one pack of channels of many pixels. What a
// block has summed goes to the workspace, and a small kernel joins it (chunks.h).
#pragma once

#include "kernels/cuda/chunks.h"

namespace unetd::UNETD_GPU {

struct Parameters {
  const float *mean, *gamma, *rstd, *beta;
};
template <class Buffers>
Parameters parameters_of(const Buffers& b) {
  return {static_cast<const float*>(b.mean), static_cast<const float*>(b.gamma),
          static_cast<const float*>(b.rstd), static_cast<const float*>(b.beta)};
}

// Some channels: (x - mean) * scale + beta rather than x * scale + shift, since where the variance
// is small, scale and shift are large and cancel. Both directions compute it here, so that they
// agree on what the ReLU cuts.
template <int N>
struct Affine {
  Floats<N> mean, scale, beta;
  SIMT_DEVICE float operator()(float x, int k) const {
    return (x - mean.v[k]) * scale.v[k] + beta.v[k];
  }
};
template <int N>
SIMT_DEVICE Affine<N> load_affine(const Parameters& p, int64_t channel) {
  Affine<N> a{load_parameter<N>(p.mean + channel), load_parameter<N>(p.gamma + channel),
              load_parameter<N>(p.beta + channel)};
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) a.scale.v[k] *= p.rstd[channel + k];
  return a;
}

// --- gradients -----------------------------------------------------------------------------------

// Of dy, and of dy * (x - mean).
template <int N>
struct Sums {
  float plain[N], weighted[N];

  SIMT_DEVICE void add(const Affine<N>& affine, float x, float dy, int k) {
    plain[k] += dy;
    weighted[k] += dy * (x - affine.mean.v[k]);
  }
};
struct AddSums {
  template <int N>
  SIMT_DEVICE Sums<N> operator()(Sums<N> a, const Sums<N>& b) const {
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      a.plain[k] += b.plain[k];
      a.weighted[k] += b.weighted[k];
    }
    return a;
  }
};

// dx = scale * (dy - dbeta/n - xhat * dgamma/n) = scale * dy + slope * (x - mean) + constant
struct Coefficients {
  float *slope, *constant;
};
template <int N>
struct Slope {
  Floats<N> slope, constant;
  SIMT_DEVICE float operator()(const Affine<N>& affine, float x, float dy, int k) const {
    return affine.scale.v[k] * dy + (slope.v[k] * (x - affine.mean.v[k]) + constant.v[k]);
  }
};
template <int N>
SIMT_DEVICE Slope<N> load_slope(const Coefficients& c, int64_t channel) {
  return {load_parameter<N>(c.slope + channel), load_parameter<N>(c.constant + channel)};
}

// What the kernels of a gradient read and write besides images: the sums of the chunks and then the
// two coefficients of each channel lie in the workspace.
struct GradientVectors {
  Parameters parameters;
  float *dgamma, *dbeta;
  float* partial;
  Coefficients coefficients;
};
// The coefficients of channel c.
SIMT_DEVICE void store_coefficients(const GradientVectors& v, int64_t c, double dgamma,
                                    double dbeta, int64_t pixels) {
  const double rstd = v.parameters.rstd[c];
  const double share = double{v.parameters.gamma[c]} * rstd / static_cast<double>(pixels);
  v.coefficients.slope[c] = static_cast<float>(-share * rstd * dgamma);
  v.coefficients.constant[c] = static_cast<float>(-share * dbeta);
}
inline size_t gradient_workspace(const Chunks& c) {
  return (c.floats() + 2 * static_cast<size_t>(c.channels)) * sizeof(float);
}
template <class Buffers>
GradientVectors gradient_vectors(const Buffers& b, void* workspace, const Chunks& chunks) {
  auto* const partial = static_cast<float*>(workspace);
  float* const slope = partial + chunks.floats();
  return {parameters_of(b),
          static_cast<float*>(b.dgamma),
          static_cast<float*>(b.dbeta),
          partial,
          {slope, slope + chunks.channels}};
}

// Joins the chunks: writes dgamma, dbeta and the coefficients of an image of so many pixels.
void join_gradient(const GradientVectors& v, int64_t pixels, const Chunks& chunks,
                   const Stream& stream);

// The two images that a gradient is taken of, NHWC.
struct GradientImages {
  const void *x, *dy;
  DType dtype;
  bool relu;  // is dy to be cut where the ReLU cut?
};
// Sums of the image's chunks, those of `t`, to v.partial.
void sum_gradient(const GradientVectors& v, const GradientImages& images, const Tiles& t,
                  const Stream& stream);
// dx, from the coefficients.
void write_gradient(void* dx, const GradientVectors& v, const GradientImages& images,
                    const Tiles& t, const Stream& stream);

}  // namespace unetd::UNETD_GPU
