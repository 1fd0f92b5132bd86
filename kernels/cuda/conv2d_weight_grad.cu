// Weight gradients: (output channels) x (pixels of y) times (pixels of y) x (taps, channels), both
// operands read across the common dimension. That dimension is long and the result small: pixels
// are cut into slices until every processor has work. A transposed convolution changes x and dy.
// Threads, tiles, shared memory and bytes: matrix_product.h, slices.h; of dbias: conv_pieces.cu.
#include "engine/op/conv2d.h"
#include "engine/op/conv_transpose2x2.h"
#include "kernels/cuda/conv_pieces.h"
#include "kernels/cuda/matrix_product.h"

namespace unetd::UNETD_GPU {
namespace {

ConvGeometry plain(const ConvGeometry& g) { return g; }
ConvGeometry plain(const UpConvGeometry& g) { return mirrored(g); }

template <class T>
auto weight_product(const Conv2dWeightGrad& p, const Conv2dWeightGrad::Buffers& b) {
  const ConvGeometry& g = p.geometry;
  const PatchView x = patches(g);
  return product(operand<Order::across_k, T>(b.dy, dense(x.rows, g.k)),
                 operand<Order::across_k, T>(b.x, x), static_cast<float*>(b.dw),
                 dense(g.k, x.columns));
}

template <class T>
auto weight_product(const ConvTranspose2x2WeightGrad& p,
                    const ConvTranspose2x2WeightGrad::Buffers& b) {
  const UpConvGeometry& g = p.geometry;
  return product(operand<Order::across_k, T>(b.dy, patches(g)),
                 operand<Order::across_k, T>(b.x, dense(g.x.pixels(), g.x.c)),
                 static_cast<float*>(b.dw), taps(g));
}

// The workspace serves the slices of dw, then the sums of dbias.
template <class P>
class WeightGrad final : public Kernel<P> {
 public:
  explicit WeightGrad(const P& p) : problem_(p) {
    with_storage_type(p.dtype, [&]<class T>(T) {
      auto dw = weight_product<T>(p, {});
      slices_ = dw.slices = slices_of(dw);
      bytes_ = workspace_of(dw);
    });
    if (p.bias) {
      bytes_ = std::max(bytes_, channel_sums_workspace<simt::device>(dy_.pixels(), dy_.c));
    }
  }

  size_t workspace() const override { return bytes_; }

  void run(const typename P::Buffers& b, void* workspace, Stream& stream) const override {
    with_storage_type(problem_.dtype, [&]<class T>(T) {
      auto dw = weight_product<T>(problem_, b);
      dw.slices = slices_;
      run_product(dw, workspace, stream);
    });
    if (!problem_.bias) return;
    channel_sums<simt::device>(static_cast<float*>(b.dbias), b.dy, problem_.dtype, dy_.pixels(),
                               dy_.c, workspace, stream);
  }

 private:
  P problem_;
  Shape dy_ = problem_.geometry.y();
  Slices slices_;
  size_t bytes_ = 0;
};

template <class P>
const char* reject(const P& p) {
  return reject_convolution(p.dtype, plain(p.geometry));
}

}  // namespace

void register_conv2d_weight_grad() {
  add<WeightGrad<Conv2dWeightGrad>, Conv2dWeightGrad>(reject);
  add<WeightGrad<ConvTranspose2x2WeightGrad>, ConvTranspose2x2WeightGrad>(reject);
}

}  // namespace unetd::UNETD_GPU
