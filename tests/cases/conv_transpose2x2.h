// Problems of conv_transpose2x2 and its gradients.
#pragma once

#include "engine/op/conv_transpose2x2.h"
#include "tests/cases/conv2d.h"

namespace unetd {

inline std::vector<UpConvGeometry> upconv_test_geometries() {
  return {{{1, 1, 1, 1}, 1},   {{1, 1, 1, 13}, 3},   {{2, 3, 5, 3}, 17},   {{2, 4, 4, 16}, 16},
          {{1, 5, 3, 33}, 13}, {{1, 2, 17, 32}, 48}, {{1, 4, 4, 128}, 64}, {{3, 1, 2, 48}, 16},
          {{1, 1, 2, 520}, 72}};  // so long sums that they are cut into slices
}

inline std::vector<UpConvGeometry> upconv_perf_geometries() {
  std::vector<UpConvGeometry> all;
  for (const NetShape& net : nets) {
    for (int d = 1; d <= net_depth; ++d) all.push_back({net.level(d), net.width << (d - 1)});
  }
  return all;
}

inline Signature describe(const ConvTranspose2x2& p) {
  const UpConvGeometry& g = p.geometry;
  Signature s{
      {{"x", g.x, Kind::features, p.dtype}, {"w", g.filter(), Kind::transposed_filter, p.dtype}},
      {{.name = "y", .shape = g.y(), .dtype = p.dtype, .reduction = g.x.c}}};
  if (p.bias) s.in.push_back({"bias", vector_shape(g.k), Kind::features, wide_type(p.dtype)});
  return s;
}

inline Signature describe(const ConvTranspose2x2DataGrad& p) {
  const UpConvGeometry& g = p.geometry;
  return {
      {{"dy", g.y(), Kind::features, p.dtype}, {"w", g.filter(), Kind::transposed_filter, p.dtype}},
      {{.name = "dx", .shape = g.x, .dtype = p.dtype, .reduction = 4 * g.k}}};
}

inline Signature describe(const ConvTranspose2x2WeightGrad& p) {
  const UpConvGeometry& g = p.geometry;
  Signature s{{{"x", g.x, Kind::features, p.dtype}, {"dy", g.y(), Kind::features, p.dtype}},
              {{.name = "dw",
                .shape = g.filter(),
                .kind = Kind::transposed_filter,
                .dtype = wide_type(p.dtype),
                .reduction = g.x.pixels()}}};
  if (p.bias) {
    s.out.push_back({.name = "dbias",
                     .shape = vector_shape(g.k),
                     .dtype = wide_type(p.dtype),
                     .reduction = g.y().pixels()});
  }
  return s;
}

template <>
inline Cases<ConvTranspose2x2> cases<ConvTranspose2x2>() {
  return conv_cases<ConvTranspose2x2>(upconv_test_geometries(), upconv_perf_geometries());
}

template <>
inline Cases<ConvTranspose2x2DataGrad> cases<ConvTranspose2x2DataGrad>() {
  Cases<ConvTranspose2x2DataGrad> all;
  for (const UpConvGeometry& g : upconv_test_geometries()) all.test.push_back({g});
  for (const UpConvGeometry& g : upconv_perf_geometries()) all.perf.push_back({g});
  return all;
}

template <>
inline Cases<ConvTranspose2x2WeightGrad> cases<ConvTranspose2x2WeightGrad>() {
  return conv_cases<ConvTranspose2x2WeightGrad>(upconv_test_geometries(), upconv_perf_geometries());
}

}  // namespace unetd
