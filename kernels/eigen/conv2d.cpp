#include "engine/op/conv2d.h"

#include "kernels/eigen/eigen.h"
#include "kernels/eigen/im2col.h"
#include "kernels/eigen/kernels.h"

namespace unetd::eigen {
namespace {

// The windows of x, one row per pixel of y; and those of dy that reach each pixel of x.
Im2col windows_of_x(const ConvGeometry& g) {
  const Shape y = g.y();
  return {g.x, y.h, y.w, g.r, g.s, g.stride, g.pad, false};
}
Im2col windows_of_dy(const ConvGeometry& g) {
  return {g.y(), g.x.h, g.x.w, g.r, g.s, g.stride, g.pad, true};
}

// Where block (kb, cb, tap) lies in the filter.
int64_t filter_block(const ConvGeometry& g, int64_t kb, int64_t cb, int64_t tap) {
  return (kb * blocks(g.x.c) + cb) * g.r * g.s + tap;
}

struct ForwardKernel final : Kernel<Conv2d> {
  explicit ForwardKernel(const Conv2d& p)
      : problem(p), product(windows_of_x(p.geometry), padded(p.geometry.k)) {}
  size_t workspace() const override { return product.workspace(); }
  void run(const Conv2d::Buffers& b, void* workspace, Stream&) const override {
    const ConvGeometry& g = problem.geometry;
    const int64_t taps = g.r * g.s;
    product.run(
        floats(b.x), floats(b.w), false,
        [&](int64_t i, int64_t j) { return filter_block(g, j, i / taps, i % taps); }, workspace,
        [&](int64_t first, int64_t rows, const float* values) {
          store_pixels(g.y(), first, rows, values, floats(b.bias), problem.relu, floats(b.y));
        });
  }
  Conv2d problem;
  TiledProduct product;
};

struct DataGradKernel final : Kernel<Conv2dDataGrad> {
  explicit DataGradKernel(const Conv2dDataGrad& p)
      : geometry(p.geometry), product(windows_of_dy(p.geometry), padded(p.geometry.x.c)) {}
  size_t workspace() const override { return product.workspace(); }
  void run(const Conv2dDataGrad::Buffers& b, void* workspace, Stream&) const override {
    const ConvGeometry& g = geometry;
    const int64_t taps = g.r * g.s;
    product.run(
        floats(b.dy), floats(b.w), true,
        [&](int64_t i, int64_t j) { return filter_block(g, i / taps, j, i % taps); }, workspace,
        [&](int64_t first, int64_t rows, const float* values) {
          store_pixels(g.x, first, rows, values, nullptr, false, floats(b.dx));
        });
  }
  ConvGeometry geometry;
  TiledProduct product;
};

struct WeightGradKernel final : Kernel<Conv2dWeightGrad> {
  explicit WeightGradKernel(const Conv2dWeightGrad& p)
      : geometry(p.geometry), product(windows_of_x(p.geometry), pixels_of(p.geometry.y())) {}
  size_t workspace() const override { return product.workspace(); }
  void run(const Conv2dWeightGrad::Buffers& b, void* workspace, Stream&) const override {
    const ConvGeometry& g = geometry;
    const int64_t taps = g.r * g.s;
    product.run(
        floats(b.x), floats(b.dy), floats(b.dw),
        [&](int64_t i, int64_t j) { return filter_block(g, j, i / taps, i % taps); }, workspace);
    if (b.dbias != nullptr) sum_pixels(floats(b.dy), g.y(), floats(b.dbias));
  }
  ConvGeometry geometry;
  OuterProduct product;
};

}  // namespace

void register_conv2d() {
  add<Conv2d, ForwardKernel>();
  add<Conv2dDataGrad, DataGradKernel>();
  add<Conv2dWeightGrad, WeightGradKernel>();
}

void register_kernels() {
  register_conv2d();
  register_conv_transpose2x2();
}

}  // namespace unetd::eigen
