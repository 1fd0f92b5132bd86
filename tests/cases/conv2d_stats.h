// Problems of the convolution that takes its result's statistics.
#pragma once

#include "engine/op/conv2d_stats.h"
#include "tests/cases/conv2d.h"

#include <utility>

namespace unetd {

// With a bias, means are far from zero and variances small: that shows variances computed as
// E[y^2] - E[y]^2.
inline Signature describe(const Conv2dStats& p) {
  const ConvGeometry& g = p.geometry;
  const Shape v = vector_shape(g.k);
  const DType wide = wide_type(p.dtype);
  const int64_t n = g.y().pixels();
  const auto statistic = [&](const char* name, bool in_place, Fill fill = {}) {
    return BufferSpec{name, v, Kind::features, wide, std::move(fill), in_place, n};
  };
  const Fill weights = p.bias ? uniform(-0.01, 0.01) : uniform(-1, 1);
  Signature s{
      {{"x", g.x, Kind::features, p.dtype}, {"w", g.filter(), Kind::filter, p.dtype, weights}},
      {{.name = "y", .shape = g.y(), .dtype = p.dtype, .reduction = g.r * g.s * g.x.c},
       statistic("mean", false),
       statistic("rstd", false),
       statistic("running_mean", true),
       statistic("running_var", true, uniform(0.5, 2))}};
  if (p.bias) s.in.push_back({"bias", v, Kind::features, wide, uniform(60, 100)});
  return s;
}

// A convolution that leaves an image as it is.
inline ConvGeometry one_to_one(const Shape& image) {
  return {.x = image, .k = image.c, .r = 1, .s = 1, .stride = 1, .pad = 0};
}
inline Tensor identity_filter(int64_t channels) {
  std::vector<double> identity(static_cast<size_t>(channels * channels), 0.0);
  for (int64_t i = 0; i < channels; ++i) identity[static_cast<size_t>(i * (channels + 1))] = 1;
  return Tensor::from<double>({channels, 1, 1, channels}, identity);
}

// Statistics are of y as an implementation stored it, and two right ones may round an element of it
// to different sides. So they are compared with those of a convolution that leaves this y as it is:
// the problem and its inputs.
inline std::pair<Conv2dStats, std::vector<Tensor>> with_result(Conv2dStats p,
                                                               const std::vector<Tensor>& /*in*/,
                                                               const Tensor& y) {
  p.geometry = one_to_one(p.geometry.y());
  p.bias = false;
  std::vector<Tensor> in;
  in.push_back(y.clone());
  in.push_back(identity_filter(y.shape().c));
  return {p, std::move(in)};
}

inline std::vector<ConvGeometry> fused_conv_test_geometries() {
  return {
      {{1, 1, 1, 1}, 1},                 // one pixel: no variance
      {{1, 1, 1, 13}, 4, 1, 1, 1, 0},    // the same for several channels, 1x1
      {{1, 5, 7, 3}, 17},                // channels that fill no pack
      {{1, 6, 5, 33}, 13},               // of neither
      {{2, 4, 4, 16}, 16},               // whole packs, half a tile of pixels
      {{1, 3, 3, 128}, 160},             // so few pixels that the product is cut into slices
      {{1, 2, 3, 70}, 33},               // the same without packs
      {{2, 22, 27, 32}, 40},             // tiles of pixels and channels, the last ones cut
      {{1, 29, 34, 5}, 72, 1, 1, 1, 0},  // the same without packs
      {{2, 9, 9, 16}, 32, 3, 3, 2},      // stride
  };
}

template <>
inline Cases<Conv2dStats> cases<Conv2dStats>() {
  const std::vector<ConvGeometry> test = fused_conv_test_geometries();
  Cases<Conv2dStats> all = conv_cases<Conv2dStats>(test, conv_perf_geometries());
  for (const ConvGeometry& g : test) {  // and each the other way round
    const bool bias = all.test.size() % 2 == 1;
    all.test.push_back({.geometry = g, .eps = 1e-3F, .momentum = 0.5F, .bias = bias});
  }
  return all;
}

}  // namespace unetd
