// Convolution: (pixels of y) x (taps, channels) times (taps, channels) x (output channels), the
// patches of x gathered while they are copied to shared memory. Threads, tiles, shared memory and
// bytes: matrix_product.h. Bias and ReLU happen in the store.
#include "engine/op/conv2d.h"
#include "kernels/cuda/matrix_product.h"

namespace unetd::UNETD_GPU {
namespace {

void forward(const Conv2d& p, const Conv2d::Buffers& b, const Stream& stream) {
  with_storage_type(p.dtype, [&]<class T>(T) {
    const ConvGeometry& g = p.geometry;
    const PatchView x = patches(g);
    auto y = product(operand<Order::along_k, T>(b.x, x),
                     operand<Order::along_k, T>(b.w, dense(g.k, x.columns)), static_cast<T*>(b.y),
                     dense(x.rows, g.k));
    y.bias = static_cast<const float*>(b.bias);
    y.relu = p.relu;
    run_product(y, stream);
  });
}

const char* reject(const Conv2d& p) { return reject_convolution(p.dtype, p.geometry); }

}  // namespace

void register_conv2d() { add<forward, Conv2d>(reject); }

}  // namespace unetd::UNETD_GPU
