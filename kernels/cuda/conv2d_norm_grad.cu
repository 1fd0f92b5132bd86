// The data gradient of a convolution of stride 1, cut and summed for the gradients of the batch
// norm before it: the product of conv2d_data_grad.cu with the epilogue of tile_norm_grad.h, then
// batch_norm.cu's join and its last pass. Beside what the data gradient moves, x is read once in
// the epilogue; then x and dz are read and dx is written. Where the product is cut into slices no
// block has whole sums; dz is small then, and is read again.
#include "engine/op/conv2d_norm_grad.h"
#include "kernels/cuda/tile_norm_grad.h"

namespace unetd::UNETD_GPU {
namespace {

template <class T>
auto product_of(const Conv2dNormGrad& p, const Conv2dNormGrad::Buffers& b, float* partial) {
  const ConvGeometry& g = p.geometry;
  const Phase v = phase(0, g.x.h, g.r, 1, g.pad), h = phase(0, g.x.w, g.s, 1, g.pad);
  const TileNormGrad<T> epilogue{static_cast<const T*>(b.x), parameters_of(b), partial};
  auto dz = product(operand<Order::along_k, T>(b.dy, sources(g, v, h)),
                    operand<Order::across_k, T>(b.w, taps(g, v, h)), static_cast<T*>(b.dz),
                    dense(g.x.pixels(), g.x.c), epilogue);
  dz.slices = slices_of_image(dz);
  return dz;
}

class NormGrad final : public Kernel<Conv2dNormGrad> {
 public:
  explicit NormGrad(const Conv2dNormGrad& p) : p_(p) {
    with_storage_type(p.dtype, [&]<class T>(T) {
      const auto dz = product_of<T>(p, {}, nullptr);
      sliced_ = dz.slices.count > 1;
      product_floats_ = workspace_of(dz) / sizeof(float);
      const int64_t rows = tile_rows(dz);
      chunks_ = sliced_ ? chunks_of(tiles_)
                        : Chunks{dz.m, dz.n, rows, static_cast<unsigned>(ceil_div(dz.m, rows))};
    });
  }

  // The product's slices, then the norm's sums and coefficients.
  size_t workspace() const override {
    return product_floats_ * sizeof(float) + gradient_workspace(chunks_);
  }

  void run(const Conv2dNormGrad::Buffers& b, void* workspace, Stream& stream) const override {
    const GradientVectors v =
        gradient_vectors(b, static_cast<float*>(workspace) + product_floats_, chunks_);
    const GradientImages cut{b.x, b.dz, p_.dtype, /*relu=*/false};
    with_storage_type(p_.dtype, [&]<class T>(T) {
      run_product(product_of<T>(p_, b, v.partial), workspace, stream);
    });
    if (sliced_) sum_gradient(v, cut, tiles_, stream);
    join_gradient(v, x_.pixels(), chunks_, stream);
    write_gradient(b.dx, v, cut, tiles_, stream);
  }

 private:
  Conv2dNormGrad p_;
  Shape x_ = p_.geometry.x;
  Tiles tiles_ = tiles_of(x_.pixels(), x_.c, pack_size(p_.dtype, x_.c));
  bool sliced_ = false;
  size_t product_floats_ = 0;
  Chunks chunks_{};
};

const char* reject(const Conv2dNormGrad& p) {
  if (p.geometry.stride != 1) return "only stride 1";
  return reject_convolution(p.dtype, p.geometry);
}

}  // namespace

void register_conv2d_norm_grad() { add<NormGrad, Conv2dNormGrad>(reject); }

}  // namespace unetd::UNETD_GPU
