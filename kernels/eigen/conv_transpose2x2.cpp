// Each pixel of x meets a 2x2 patch of y, so the patches are the windows of a 2x2 convolution with
// stride 2, and each of the three problems is one matrix product between pixels and patches.
#include "engine/op/conv_transpose2x2.h"

#include "kernels/eigen/im2col.h"
#include "kernels/eigen/kernels.h"

namespace unetd::eigen {
namespace {

constexpr int64_t taps = 4;

Im2col patches_of(const UpConvGeometry& g) {
  return {.source = g.y(), .grid_h = g.x.h, .grid_w = g.x.w, .r = 2, .s = 2, .stride = 2};
}

// Where block (k block and tap, cb) lies in the filter.
int64_t filter_block(const UpConvGeometry& g, int64_t kb_tap, int64_t cb) {
  return kb_tap * blocks(g.x.c) + cb;
}

// Rows of pixels x (k block, tap, lane) into the patches of y.
void store_patches(const UpConvGeometry& g, int64_t first, int64_t rows, const float* values,
                   const float* bias, float* y) {
  const int64_t kb = blocks(g.k), h = g.x.h, w = g.x.w;
  for (int64_t row = first; row < first + rows; ++row) {
    const int64_t j = row % w, i = row / w % h, n = row / (w * h);
    for (int64_t b = 0; b < kb; ++b) {
      for (int64_t tap = 0; tap < taps; ++tap, values += block) {
        float* out =
            y + (((n * kb + b) * 2 * h + 2 * i + tap / 2) * 2 * w + 2 * j + tap % 2) * block;
        for (int64_t lane = 0; lane < block; ++lane) {
          out[lane] = values[lane] + (bias == nullptr ? 0.0F : bias[b * block + lane]);
        }
      }
    }
  }
}

struct ForwardKernel final : Kernel<ConvTranspose2x2> {
  explicit ForwardKernel(const ConvTranspose2x2& p)
      : geometry(p.geometry), product(pixels_of(p.geometry.x), taps * padded(p.geometry.k)) {}
  size_t workspace() const override { return product.workspace(); }
  void run(const ConvTranspose2x2::Buffers& b, void* workspace, Stream&) const override {
    const UpConvGeometry& g = geometry;
    product.run(
        floats(b.x), floats(b.w), false,
        [&](int64_t i, int64_t j) { return filter_block(g, j, i); }, workspace,
        [&](int64_t first, int64_t rows, const float* values) {
          store_patches(g, first, rows, values, floats(b.bias), floats(b.y));
        });
  }
  UpConvGeometry geometry;
  TiledProduct product;
};

struct DataGradKernel final : Kernel<ConvTranspose2x2DataGrad> {
  explicit DataGradKernel(const ConvTranspose2x2DataGrad& p)
      : geometry(p.geometry), product(patches_of(p.geometry), padded(p.geometry.x.c)) {}
  size_t workspace() const override { return product.workspace(); }
  void run(const ConvTranspose2x2DataGrad::Buffers& b, void* workspace, Stream&) const override {
    const UpConvGeometry& g = geometry;
    product.run(
        floats(b.dy), floats(b.w), true,
        [&](int64_t i, int64_t j) { return filter_block(g, i, j); }, workspace,
        [&](int64_t first, int64_t rows, const float* values) {
          store_pixels(g.x, first, rows, values, nullptr, false, floats(b.dx));
        });
  }
  UpConvGeometry geometry;
  TiledProduct product;
};

struct WeightGradKernel final : Kernel<ConvTranspose2x2WeightGrad> {
  explicit WeightGradKernel(const ConvTranspose2x2WeightGrad& p)
      : geometry(p.geometry), product(pixels_of(p.geometry.x), patches_of(p.geometry)) {}
  size_t workspace() const override { return product.workspace(); }
  void run(const ConvTranspose2x2WeightGrad::Buffers& b, void* workspace, Stream&) const override {
    const UpConvGeometry& g = geometry;
    product.run(
        floats(b.x), floats(b.dy), floats(b.dw),
        [&](int64_t i, int64_t j) { return filter_block(g, j, i); }, workspace);
    if (b.dbias != nullptr) sum_pixels(floats(b.dy), g.y(), floats(b.dbias));
  }
  UpConvGeometry geometry;
  OuterProduct product;
};

}  // namespace

void register_conv_transpose2x2() {
  add<ConvTranspose2x2, ForwardKernel>();
  add<ConvTranspose2x2DataGrad, DataGradKernel>();
  add<ConvTranspose2x2WeightGrad, WeightGradKernel>();
}

}  // namespace unetd::eigen
