// Data gradients: (pixels of x) x (taps, output channels) times (taps, output channels) x (channels
// of x). A convolution of stride 1 is one product with the kernel turned round. With a larger
// stride, each of the stride^2 phases of x meets taps of its own, and is a product of its own: no
// zeros are multiplied. The data gradient of a transposed convolution gathers 2x2 patches of dy by
// the same kernel. Threads, tiles, shared memory and bytes: matrix_product.h; w is read across k.
#include "engine/op/conv2d.h"
#include "engine/op/conv_transpose2x2.h"
#include "kernels/cuda/matrix_product.h"

namespace unetd::UNETD_GPU {
namespace {

// Calls visit(product) for each phase.
template <class T, class Visit>
void for_each_phase(const Conv2dDataGrad& p, const Conv2dDataGrad::Buffers& b, const Visit& visit) {
  const ConvGeometry& g = p.geometry;
  for (int64_t top = 0; top < std::min(g.stride, g.x.h); ++top) {
    const Phase v = phase(top, g.x.h, g.r, g.stride, g.pad);
    for (int64_t left = 0; left < std::min(g.stride, g.x.w); ++left) {
      const Phase h = phase(left, g.x.w, g.s, g.stride, g.pad);
      auto dx = product(operand<Order::along_k, T>(b.dy, sources(g, v, h)),
                        operand<Order::across_k, T>(b.w, taps(g, v, h)), static_cast<T*>(b.dx),
                        pixels(g, v, h));
      dx.slices = slices_of_image(dx);
      visit(dx);
    }
  }
}

class DataGrad final : public Kernel<Conv2dDataGrad> {
 public:
  explicit DataGrad(const Conv2dDataGrad& p) : p_(p) {
    with_storage_type(p.dtype, [&]<class T>(T) {
      for_each_phase<T>(p, {},
                        [&](const auto& dx) { bytes_ = std::max(bytes_, workspace_of(dx)); });
    });
  }
  size_t workspace() const override { return bytes_; }
  void run(const Conv2dDataGrad::Buffers& b, void* workspace, Stream& stream) const override {
    with_storage_type(p_.dtype, [&]<class T>(T) {
      for_each_phase<T>(p_, b, [&](const auto& dx) { run_product(dx, workspace, stream); });
    });
  }

 private:
  Conv2dDataGrad p_;
  size_t bytes_ = 0;
};

struct TransposedDataGrad {
  template <class T>
  static auto make(const ConvTranspose2x2DataGrad& p, const ConvTranspose2x2DataGrad::Buffers& b) {
    const UpConvGeometry& g = p.geometry;
    const Phase all_rows = phase(0, g.x.h, 1, 1, 0), all_columns = phase(0, g.x.w, 1, 1, 0);
    const ConvGeometry pointwise{.x = g.x, .k = g.k, .r = 1, .s = 1, .stride = 1, .pad = 0};
    auto dx = product(operand<Order::along_k, T>(b.dy, patches(g)),
                      operand<Order::across_k, T>(b.w, taps(g)), static_cast<T*>(b.dx),
                      pixels(pointwise, all_rows, all_columns));
    dx.slices = slices_of_image(dx);
    return dx;
  }
};

const char* reject(const Conv2dDataGrad& p) { return reject_convolution(p.dtype, p.geometry); }
const char* reject_transposed(const ConvTranspose2x2DataGrad& p) {
  return reject_convolution(p.dtype, mirrored(p.geometry));
}

}  // namespace

void register_conv2d_data_grad() {
  add<DataGrad, Conv2dDataGrad>(reject);
  add<ProductKernel<ConvTranspose2x2DataGrad, TransposedDataGrad>, ConvTranspose2x2DataGrad>(
      reject_transposed);
}

}  // namespace unetd::UNETD_GPU
