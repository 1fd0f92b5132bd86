// Convolution: (pixels of y) x (taps, channels) times (taps, channels) x (output channels), the
// patches of x gathered while they are copied to shared memory. Threads, tiles, shared memory and
// bytes: matrix_product.h. Bias and ReLU happen in the store.
//
// With statistics: tiles take the moments of what they store, 8 bytes per tile and channel, and
// moments.cu joins them. Where the product is cut into slices no block has whole sums; y is small
// then, and is read again.
#include "engine/op/conv2d_stats.h"
#include "kernels/cuda/tile_moments.h"

namespace unetd::UNETD_GPU {
namespace {

template <class T, class Epilogue>
auto image_product(const Conv2d& p, const Conv2d::Buffers& b, const Epilogue& epilogue) {
  const ConvGeometry& g = p.geometry;
  const PatchView x = patches(g);
  auto y = product(operand<Order::along_k, T>(b.x, x),
                   operand<Order::along_k, T>(b.w, dense(g.k, x.columns)), static_cast<T*>(b.y),
                   dense(x.rows, g.k), epilogue);
  y.bias = static_cast<const float*>(b.bias);
  y.relu = p.relu;
  y.slices = slices_of_image(y);
  return y;
}

struct Forward {
  template <class T>
  static auto make(const Conv2d& p, const Conv2d::Buffers& b) {
    return image_product<T>(p, b, StoreOnly{});
  }
};

class WithStatistics final : public Kernel<Conv2dStats> {
 public:
  explicit WithStatistics(const Conv2dStats& p) : p_(p) {
    with_storage_type(p.dtype, [&]<class T>(T) {
      const auto y = image_product<T>(p_.convolution(), {}, TileMoments{{}, nullptr});
      sliced_ = y.slices.count > 1;
      product_floats_ = workspace_of(y) / sizeof(float);
      chunks_ = sliced_ ? chunks_of(tiles_) : tiles_as_chunks(y);
    });
  }

  // The product's slices, then the moments.
  size_t workspace() const override {
    return (product_floats_ + moments_floats(chunks_)) * sizeof(float);
  }

  void run(const Conv2dStats::Buffers& b, void* workspace, Stream& stream) const override {
    float* const partial = static_cast<float*>(workspace) + product_floats_;
    with_storage_type(p_.dtype, [&]<class T>(T) {
      run_product(
          image_product<T>(p_.convolution(), {b.x, b.w, b.bias, b.y}, TileMoments{{}, partial}),
          workspace, stream);
    });
    if (sliced_) image_moments(partial, b.y, p_.dtype, tiles_, stream);
    join_moments(statistics_in(b), partial, chunks_, {p_.eps, p_.momentum}, stream);
  }

 private:
  template <class P>
  static Chunks tiles_as_chunks(const P& y) {
    const int64_t rows = tile_rows(y);
    return {y.m, y.n, rows, static_cast<unsigned>(ceil_div(y.m, rows))};
  }

  Conv2dStats p_;
  Shape y_ = p_.geometry.y();
  Tiles tiles_ = tiles_of(y_.pixels(), y_.c, pack_size(p_.dtype, y_.c));
  bool sliced_ = false;
  size_t product_floats_ = 0;
  Chunks chunks_{};
};

template <class P>
const char* reject(const P& p) {
  return reject_convolution(p.dtype, p.geometry);
}

}  // namespace

void register_conv2d() {
  add<ProductKernel<Conv2d, Forward>, Conv2d>(reject);
  add<WithStatistics, Conv2dStats>(reject);
}

}  // namespace unetd::UNETD_GPU
