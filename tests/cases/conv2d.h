// Problems of conv2d and its gradients.
#pragma once

#include "engine/op/conv2d.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline std::vector<ConvGeometry> conv_test_geometries() {
  return {
      {{1, 1, 1, 1}, 1},                  // one pixel, all but one tap outside
      {{1, 1, 1, 13}, 4, 1, 1, 1, 0},     // a head on one pixel
      {{1, 5, 29, 64}, 4, 1, 1, 1, 0},    // a head
      {{1, 5, 7, 3}, 17},                 // channels that fill no block
      {{2, 4, 4, 16}, 16},                // exactly one block
      {{1, 6, 5, 33}, 13},                // partial last blocks
      {{1, 8, 31, 32}, 48},               // a row wider than register tiles
      {{1, 16, 16, 64}, 64},              // 64 channels
      {{2, 10, 10, 48}, 33},              // partial last block of the output only
      {{1, 3, 3, 128}, 160},              // more channels than pixels
      {{1, 30, 30, 16}, 16},              // tiles cut at the border
      {{3, 2, 2, 16}, 32},                // image smaller than a tile
      {{2, 9, 9, 16}, 32, 3, 3, 2},       // stride
      {{1, 4, 5, 8}, 144, 3, 3, 2},       // stride, and sums over k long enough for slices
      {{1, 8, 10, 13}, 16, 3, 3, 2},      // stride and even sizes: the last row is not centred on
      {{1, 4, 5, 4}, 2, 2, 2, 2, 0},      // even kernel
      {{1, 7, 7, 3}, 8, 5, 5, 1, 2},      // 5x5
      {{1, 6, 6, 5}, 3, 3, 3, 1, 0},      // valid convolution
      {{1, 12, 13, 16}, 16, 3, 3, 1, 0},  // valid convolution of a whole block
      {{1, 3, 4, 2}, 3, 3, 3, 1, 2},      // output larger than input
      {{1, 5, 6, 4}, 6, 1, 3, 1, 0},      // kernel that is not square
      {{2, 22, 27, 32}, 40},              // enough tiles and channels for Winograd
      {{1, 29, 34, 33}, 32},              // the same with cut tiles and a partial block
  };
}

// Every different convolution of both networks.
inline std::vector<ConvGeometry> conv_perf_geometries() {
  std::vector<ConvGeometry> all;
  for (const NetShape& net : nets) {
    all.push_back({net.level(0, net.bands), net.width});
    for (int d = 0; d <= net_depth; ++d) {
      const int64_t width = net.width << d;
      if (d > 0) all.push_back({net.level(d, width / 2), width});
      all.push_back({net.level(d), width});
      if (d < net_depth) all.push_back({net.level(d, 2 * width), width});  // behind a concatenation
    }
    all.push_back({net.level(0), net.classes, 1, 1, 1, 0});
  }
  return all;
}

// Problems with a bias flag for each geometry, with and without in turn.
template <class P>
Cases<P> conv_cases(const auto& test, const auto& perf) {
  Cases<P> all;
  for (const auto& g : test) {
    all.test.push_back({.geometry = g, .bias = all.test.size() % 2 == 0});
  }
  for (const auto& g : perf) all.perf.push_back({.geometry = g});
  return all;
}

inline Signature describe(const Conv2d& p) {
  const ConvGeometry& g = p.geometry;
  Signature s{{{"x", g.x, Kind::features, p.dtype}, {"w", g.filter(), Kind::filter, p.dtype}}, {}};
  if (p.bias) s.in.push_back({"bias", vector_shape(g.k), Kind::features, wide_type(p.dtype)});
  s.out = {{.name = "y", .shape = g.y(), .dtype = p.dtype, .reduction = g.r * g.s * g.x.c}};
  return s;
}

inline Signature describe(const Conv2dDataGrad& p) {
  const ConvGeometry& g = p.geometry;
  return {{{"dy", g.y(), Kind::features, p.dtype}, {"w", g.filter(), Kind::filter, p.dtype}},
          {{.name = "dx", .shape = g.x, .dtype = p.dtype, .reduction = g.r * g.s * g.k}}};
}

inline Signature describe(const Conv2dWeightGrad& p) {
  const ConvGeometry& g = p.geometry;
  const int64_t pixels = g.y().pixels();
  Signature s{{{"x", g.x, Kind::features, p.dtype}, {"dy", g.y(), Kind::features, p.dtype}},
              {{.name = "dw",
                .shape = g.filter(),
                .kind = Kind::filter,
                .dtype = wide_type(p.dtype),
                .reduction = pixels}}};
  if (p.bias) {
    s.out.push_back({.name = "dbias",
                     .shape = vector_shape(g.k),
                     .dtype = wide_type(p.dtype),
                     .reduction = pixels});
  }
  return s;
}

template <>
inline Cases<Conv2d> cases<Conv2d>() {
  Cases<Conv2d> all = conv_cases<Conv2d>(conv_test_geometries(), conv_perf_geometries());
  for (size_t i = 0; i < all.test.size(); ++i) all.test[i].relu = i % 3 == 0;
  return all;
}

template <>
inline Cases<Conv2dDataGrad> cases<Conv2dDataGrad>() {
  Cases<Conv2dDataGrad> all;
  for (const ConvGeometry& g : conv_test_geometries()) all.test.push_back({g});
  for (const ConvGeometry& g : conv_perf_geometries()) all.perf.push_back({g});
  return all;
}

template <>
inline Cases<Conv2dWeightGrad> cases<Conv2dWeightGrad>() {
  return conv_cases<Conv2dWeightGrad>(conv_test_geometries(), conv_perf_geometries());
}

}  // namespace unetd
