// Transposed convolution: (pixels of x) x (channels) times (channels) x (taps, output channels);
// the pixel shuffle is in the store, which sees y as its 2x2 patches. Threads, tiles, shared memory
// and bytes: matrix_product.h.
#include "engine/op/conv_transpose2x2.h"
#include "kernels/cuda/matrix_product.h"

namespace unetd::UNETD_GPU {
namespace {

struct Forward {
  template <class T>
  static auto make(const ConvTranspose2x2& p, const ConvTranspose2x2::Buffers& b) {
    const UpConvGeometry& g = p.geometry;
    auto y = product(operand<Order::along_k, T>(b.x, dense(g.x.pixels(), g.x.c)),
                     operand<Order::along_k, T>(b.w, taps(g)), static_cast<T*>(b.y), patches(g));
    y.bias = static_cast<const float*>(b.bias);
    y.slices = slices_of_image(y);
    return y;
  }
};

const char* reject(const ConvTranspose2x2& p) {
  return reject_convolution(p.dtype, mirrored(p.geometry));
}

}  // namespace

void register_conv_transpose2x2() {
  add<ProductKernel<ConvTranspose2x2, Forward>, ConvTranspose2x2>(reject);
}

}  // namespace unetd::UNETD_GPU
