#include "engine/op/conv2d.h"
#include "kernels/cublas/gemm.h"
#include "kernels/cublas/register.h"
#include "kernels/cublas/taps.h"
#include "kernels/cuda/conv_pieces.h"

#include <algorithm>

namespace unetd::cublas {
namespace {

constexpr DeviceType device = DeviceType::cuda;

// --- the problems as matrix products -------------------------------------------------------------

// y = x w', with pixels as rows.
GemmProblem product_of(const Conv2d& p) {
  const ConvGeometry& g = p.geometry;
  return {.m = g.x.pixels(),
          .n = g.k,
          .k = g.x.c,
          .b_transposed = true,
          .in = p.dtype,
          .out = p.dtype,
          .bias = p.bias,
          .relu = p.relu};
}

// dx = dy w.
GemmProblem product_of(const Conv2dDataGrad& p) {
  const ConvGeometry& g = p.geometry;
  return {.m = g.x.pixels(), .n = g.x.c, .k = g.k, .in = p.dtype, .out = p.dtype};
}

// dw = dy' x.
GemmProblem product_of(const Conv2dWeightGrad& p) {
  const ConvGeometry& g = p.geometry;
  return {.m = g.k, .n = g.x.c, .k = g.x.pixels(), .a_transposed = true, .in = p.dtype};
}

// The same for the 1x1 convolution to four times the channels that leads to the matrix of taps.
ConvGeometry to_taps(const UpConvGeometry& g) {
  return {.x = g.x, .k = taps * g.k, .r = 1, .s = 1, .stride = 1, .pad = 0};
}
GemmProblem product_of(const ConvTranspose2x2& p) {
  return product_of(Conv2d{to_taps(p.geometry), p.bias, false, p.dtype});
}
GemmProblem product_of(const ConvTranspose2x2DataGrad& p) {
  return product_of(Conv2dDataGrad{to_taps(p.geometry), p.dtype});
}
GemmProblem product_of(const ConvTranspose2x2WeightGrad& p) {
  return product_of(Conv2dWeightGrad{to_taps(p.geometry), p.bias, p.dtype});
}

// With what the problem wants done to its result if an algorithm does that, too, else without.
template <class P>
std::optional<Gemm> find_product(const P& p) {
  GemmProblem product = product_of(p);
  std::optional<Gemm> gemm = Gemm::make(product);
  if (gemm || !(product.bias || product.relu)) return gemm;
  product.bias = product.relu = false;
  return Gemm::make(product);
}

template <class P>
Gemm make_product(const P& p) {
  std::optional<Gemm> gemm = find_product(p);
  UNETD_CHECK(gemm.has_value(), "cuBLASLt has no algorithm for ", P::name);
  return *gemm;
}

template <class P>
const char* reject(const P& p) {
  if (p.dtype != DType::f32 && p.dtype != DType::bf16 && p.dtype != DType::f16) {
    return "only f32, bf16 and f16";
  }
  if constexpr (requires { p.geometry.stride; }) {
    const ConvGeometry& g = p.geometry;
    if (g.r != 1 || g.s != 1 || g.stride != 1 || g.pad != 0) {
      return "only 1x1 with stride 1 and no padding";
    }
  }
  return find_product(p) ? nullptr : "cuBLASLt has no algorithm for it";
}

// --- workspaces ----------------------------------------------------------------------------------

// Parts of a workspace, each aligned as the whole is.
class Parts {
 public:
  // The offset of the next part.
  size_t add(size_t bytes) {
    constexpr size_t alignment = 256;
    const size_t offset = total_;
    total_ += (bytes + alignment - 1) / alignment * alignment;
    return offset;
  }
  size_t total() const { return total_; }

 private:
  size_t total_ = 0;
};

std::byte* at(void* workspace, size_t offset) {
  return static_cast<std::byte*>(workspace) + offset;
}

size_t sums_bytes(bool bias, const Shape& dy) {
  return bias ? channel_sums_workspace<device>(dy.pixels(), dy.c) : 0;
}

void sum_bias(const void* dy, void* dbias, const Shape& shape, DType dtype, void* workspace,
              const Stream& stream) {
  if (dbias == nullptr) return;
  channel_sums<device>(static_cast<float*>(dbias), dy, dtype, shape.pixels(), shape.c, workspace,
                       stream);
}

// --- 1x1 convolutions ----------------------------------------------------------------------------

class ForwardKernel final : public Kernel<Conv2d> {
 public:
  explicit ForwardKernel(const Conv2d& p) : problem_(p), gemm_(make_product(p)) {}
  size_t workspace() const override { return gemm_.workspace(); }
  void run(const Conv2d::Buffers& b, void* workspace, Stream& stream) const override {
    gemm_.run(b.x, b.w, b.bias, b.y, workspace, stream);
    const bool done =
        gemm_.problem().bias == problem_.bias && gemm_.problem().relu == problem_.relu;
    if (done) return;
    const Shape y = problem_.geometry.y();
    add_bias<device>(b.y, b.bias, problem_.relu, problem_.dtype, y.pixels(), y.c, stream);
  }

 private:
  Conv2d problem_;
  Gemm gemm_;
};

class DataGradKernel final : public Kernel<Conv2dDataGrad> {
 public:
  explicit DataGradKernel(const Conv2dDataGrad& p) : gemm_(make_product(p)) {}
  size_t workspace() const override { return gemm_.workspace(); }
  void run(const Conv2dDataGrad::Buffers& b, void* workspace, Stream& stream) const override {
    gemm_.run(b.dy, b.w, nullptr, b.dx, workspace, stream);
  }

 private:
  Gemm gemm_;
};

class WeightGradKernel final : public Kernel<Conv2dWeightGrad> {
 public:
  explicit WeightGradKernel(const Conv2dWeightGrad& p) : problem_(p), gemm_(make_product(p)) {}
  size_t workspace() const override {
    return std::max(gemm_.workspace(), sums_bytes(problem_.bias, problem_.geometry.y()));
  }
  void run(const Conv2dWeightGrad::Buffers& b, void* workspace, Stream& stream) const override {
    gemm_.run(b.dy, b.x, nullptr, b.dw, workspace, stream);
    sum_bias(b.dy, b.dbias, problem_.geometry.y(), problem_.dtype, workspace, stream);
  }

 private:
  Conv2dWeightGrad problem_;
  Gemm gemm_;
};

// --- transposed convolutions ---------------------------------------------------------------------

size_t bytes_of(const Shape& s, DType dtype) {
  return static_cast<size_t>(s.count()) * size_of(dtype);
}

class UpForwardKernel final : public Kernel<ConvTranspose2x2> {
 public:
  explicit UpForwardKernel(const ConvTranspose2x2& p) : problem_(p), gemm_(make_product(p)) {
    const UpConvGeometry& g = p.geometry;
    parts_.add(bytes_of(g.y(), p.dtype));
    filter_ = parts_.add(bytes_of(g.filter(), p.dtype));
    bias_ = parts_.add(fused() ? static_cast<size_t>(taps * g.k) * sizeof(float) : 0);
    rest_ = parts_.add(gemm_.workspace());
  }
  size_t workspace() const override { return parts_.total(); }
  void run(const ConvTranspose2x2::Buffers& b, void* workspace, Stream& stream) const override {
    const UpConvGeometry& g = problem_.geometry;
    const DType dtype = problem_.dtype;
    void *const filter = at(workspace, filter_), *const bias = at(workspace, bias_);
    taps_from_filter(g, dtype, b.w, filter, stream);
    if (fused()) taps_from_bias(g, b.bias, bias, stream);
    gemm_.run(b.x, filter, bias, workspace, at(workspace, rest_), stream);
    image_from_taps(g, dtype, workspace, b.y, stream);
    if (!problem_.bias || fused()) return;
    add_bias<device>(b.y, b.bias, false, dtype, g.y().pixels(), g.k, stream);
  }

 private:
  bool fused() const { return gemm_.problem().bias; }

  ConvTranspose2x2 problem_;
  Gemm gemm_;
  Parts parts_;
  size_t filter_, bias_, rest_;  // behind the matrix of taps
};

class UpDataGradKernel final : public Kernel<ConvTranspose2x2DataGrad> {
 public:
  explicit UpDataGradKernel(const ConvTranspose2x2DataGrad& p)
      : problem_(p), gemm_(make_product(p)) {
    parts_.add(bytes_of(p.geometry.y(), p.dtype));
    filter_ = parts_.add(bytes_of(p.geometry.filter(), p.dtype));
    rest_ = parts_.add(gemm_.workspace());
  }
  size_t workspace() const override { return parts_.total(); }
  void run(const ConvTranspose2x2DataGrad::Buffers& b, void* workspace,
           Stream& stream) const override {
    const UpConvGeometry& g = problem_.geometry;
    void* const filter = at(workspace, filter_);
    taps_from_filter(g, problem_.dtype, b.w, filter, stream);
    taps_from_image(g, problem_.dtype, b.dy, workspace, stream);
    gemm_.run(workspace, filter, nullptr, b.dx, at(workspace, rest_), stream);
  }

 private:
  ConvTranspose2x2DataGrad problem_;
  Gemm gemm_;
  Parts parts_;
  size_t filter_, rest_;  // behind the matrix of taps
};

class UpWeightGradKernel final : public Kernel<ConvTranspose2x2WeightGrad> {
 public:
  explicit UpWeightGradKernel(const ConvTranspose2x2WeightGrad& p)
      : problem_(p), gemm_(make_product(p)) {
    const Shape dy = p.geometry.y();
    parts_.add(bytes_of(dy, p.dtype));
    filter_ = parts_.add(bytes_of(p.geometry.filter(), DType::f32));
    rest_ = parts_.add(std::max(gemm_.workspace(), sums_bytes(p.bias, dy)));
  }
  size_t workspace() const override { return parts_.total(); }
  void run(const ConvTranspose2x2WeightGrad::Buffers& b, void* workspace,
           Stream& stream) const override {
    const UpConvGeometry& g = problem_.geometry;
    void *const filter = at(workspace, filter_), *const rest = at(workspace, rest_);
    taps_from_image(g, problem_.dtype, b.dy, workspace, stream);
    gemm_.run(workspace, b.x, nullptr, filter, rest, stream);
    filter_from_taps(g, DType::f32, filter, b.dw, stream);
    sum_bias(b.dy, b.dbias, g.y(), problem_.dtype, rest, stream);
  }

 private:
  ConvTranspose2x2WeightGrad problem_;
  Gemm gemm_;
  Parts parts_;
  size_t filter_, rest_;  // behind the matrix of taps
};

template <class P, class K>
void add() {
  add_kernel<P, K>(device, "cublas", reject<P>);
}

}  // namespace

std::string library() { return str("cuBLASLt ", cublasLtGetVersion()); }

void register_conv2d() {
  add<Conv2d, ForwardKernel>();
  add<Conv2dDataGrad, DataGradKernel>();
  add<Conv2dWeightGrad, WeightGradKernel>();
}

void register_conv_transpose2x2() {
  add<ConvTranspose2x2, UpForwardKernel>();
  add<ConvTranspose2x2DataGrad, UpDataGradKernel>();
  add<ConvTranspose2x2WeightGrad, UpWeightGradKernel>();
}

}  // namespace unetd::cublas
