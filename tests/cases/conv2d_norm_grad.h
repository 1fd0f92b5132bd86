// Problems of the data gradient that goes on through a batch norm.
#pragma once

#include "engine/op/conv2d_norm_grad.h"
#include "tests/cases/batch_norm.h"
#include "tests/cases/conv2d_stats.h"

#include <algorithm>
#include <utility>

namespace unetd {

inline Signature describe(const Conv2dNormGrad& p) {
  const ConvGeometry& g = p.geometry;
  Signature s{{{"dy", g.y(), Kind::features, p.dtype}, {"w", g.filter(), Kind::filter, p.dtype}},
              {{.name = "dz", .shape = g.x, .dtype = p.dtype, .reduction = g.r * g.s * g.k}}};
  for (BufferSpec& b : batch_norm_inputs(g.x, p.dtype, off_centre())) s.in.push_back(std::move(b));
  for (BufferSpec& b : batch_norm_gradients(g.x, p.dtype)) s.out.push_back(std::move(b));
  s.out[1].reduction += 8;  // dx is a sum of three terms, which cancel where pixels are few
  return s;
}

// The other outputs are those of dz as it is stored: of a convolution that hands it on.
inline std::pair<Conv2dNormGrad, std::vector<Tensor>> with_result(Conv2dNormGrad p,
                                                                  const std::vector<Tensor>& in,
                                                                  const Tensor& dz) {
  const int64_t c = p.geometry.x.c;
  p.geometry = one_to_one(p.geometry.x);
  std::vector<Tensor> again;
  again.push_back(dz.clone());
  again.push_back(identity_filter(c));
  for (size_t i = 2; i < in.size(); ++i) again.push_back(in[i].clone());
  return {p, std::move(again)};
}

template <>
inline Cases<Conv2dNormGrad> cases<Conv2dNormGrad>() {
  Cases<Conv2dNormGrad> all;
  for (const ConvGeometry& g : fused_conv_test_geometries()) all.test.push_back({.geometry = g});
  all.test.push_back({.geometry = {{2, 22, 27, 40}, 32}});  // whole packs that fill no tile
  for (const ConvGeometry& g : conv_perf_geometries()) {
    if (g.r == 3 && g.stride == 1) all.perf.push_back({.geometry = g});
  }
  return all;
}

}  // namespace unetd
