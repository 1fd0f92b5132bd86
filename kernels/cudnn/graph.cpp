#include "kernels/cudnn/graph.h"

#include <array>

namespace unetd::cudnn {
namespace {

constexpr int64_t spatial = 2;
using Pair = std::array<int64_t, spatial>;

cudnnDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDNN_DATA_FLOAT;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    case DType::f16:
      return CUDNN_DATA_HALF;
    default:
      throw Error(str("cudnn: no convolutions of ", name_of(dtype)));
  }
}

Descriptor convolution_attributes(int64_t stride, int64_t pad) {
  Descriptor d(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const auto both = [&](cudnnBackendAttributeName_t name, int64_t value) {
    const Pair values{value, value};
    d.set(name, std::span<const int64_t>(values));
  };
  d.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, spatial);
  d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  d.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
  both(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, pad);
  both(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, pad);
  both(CUDNN_ATTR_CONVOLUTION_DILATIONS, 1);
  both(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, stride);
  d.finalize();
  return d;
}

// The same convolution's attributes have other names in each of cuDNN's three operations.
struct ConvolutionNames {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t attributes, image, filter, result, alpha, beta;
};

constexpr ConvolutionNames names_of(Graph::Compute compute) {
  switch (compute) {
    case Graph::Compute::image:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case Graph::Compute::filter:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    case Graph::Compute::result:
      break;
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
}

}  // namespace

Graph::Graph(std::string text, DType dtype) : text_(std::move(text)), dtype_(dtype) {}

size_t Graph::tensor(const Extents& extents, const Extents& strides, DType dtype, bool in_memory) {
  Descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const auto id = static_cast<int64_t>(tensors_.size()) + 1;
  d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, data_type(dtype));
  d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const int64_t>(extents));
  d.set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const int64_t>(strides));
  d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, !in_memory);
  d.finalize();
  tensors_.push_back(std::move(d));
  if (in_memory) {
    const int64_t count = extents[0] * extents[1] * extents[2] * extents[3];
    argument_bytes_.push_back(static_cast<size_t>(count) * size_of(dtype));
    argument_ids_.push_back(id);
  }
  return tensors_.size() - 1;
}

namespace {
constexpr std::array<int64_t, 4> extents_of(const Shape& s) { return {s.n, s.c, s.h, s.w}; }
constexpr std::array<int64_t, 4> strides_of(const Shape& s) {
  return {s.h * s.w * s.c, 1, s.w * s.c, s.c};
}
}  // namespace

size_t Graph::image(const Shape& s) { return tensor(extents_of(s), strides_of(s), dtype_, true); }

size_t Graph::transposed_filter(const Shape& s) {
  // Outermost in memory, innermost for cuDNN: the two channel strides change places.
  return tensor({s.c, s.n, s.h, s.w}, {1, s.h * s.w * s.c, s.w * s.c, s.c}, dtype_, true);
}

size_t Graph::vector(int64_t channels) {
  const Shape s{1, 1, 1, channels};
  return tensor(extents_of(s), strides_of(s), DType::f32, true);
}

size_t Graph::intermediate(const Shape& s) {
  return tensor(extents_of(s), strides_of(s), DType::f32, false);
}

void Graph::convolution(const Convolution& c) {
  const ConvolutionNames names = names_of(c.compute);
  attributes_.push_back(convolution_attributes(c.stride, c.pad));
  Descriptor d(names.operation);
  d.set(names.attributes, attributes_.back());
  d.set(names.image, tensors_[c.image]);
  d.set(names.filter, tensors_[c.filter]);
  d.set(names.result, tensors_[c.result]);
  d.set(names.alpha, 1.0F);
  d.set(names.beta, 0.0F);
  d.finalize();
  operations_.push_back(std::move(d));
}

namespace {
Descriptor pointwise_attributes(cudnnPointwiseMode_t mode) {
  Descriptor attributes(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  attributes.set(CUDNN_ATTR_POINTWISE_MODE, mode);
  attributes.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  attributes.finalize();
  return attributes;
}
}  // namespace

void Graph::pointwise(cudnnPointwiseMode_t mode, size_t x, std::optional<size_t> v, size_t y) {
  Descriptor attributes = pointwise_attributes(mode);
  Descriptor d(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, attributes);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensors_[x]);
  if (v) d.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, tensors_[*v]);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, tensors_[y]);
  d.finalize();
  attributes_.push_back(std::move(attributes));
  operations_.push_back(std::move(d));
}

void Graph::add(size_t x, size_t v, size_t y) { pointwise(CUDNN_POINTWISE_ADD, x, v, y); }
void Graph::subtract(size_t x, size_t v, size_t y) { pointwise(CUDNN_POINTWISE_SUB, x, v, y); }
void Graph::multiply(size_t x, size_t v, size_t y) { pointwise(CUDNN_POINTWISE_MUL, x, v, y); }

void Graph::relu(size_t x, size_t y) { pointwise(CUDNN_POINTWISE_RELU_FWD, x, {}, y); }

void Graph::relu_gradient(size_t dy, size_t y, size_t dx) {
  Descriptor attributes = pointwise_attributes(CUDNN_POINTWISE_RELU_BWD);
  Descriptor d(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, attributes);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, tensors_[dy]);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensors_[y]);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, tensors_[dx]);
  d.finalize();
  attributes_.push_back(std::move(attributes));
  operations_.push_back(std::move(d));
}

void Graph::norm_gradient(const NormGradient& n) {
  Descriptor d(CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MATH_PREC, CUDNN_DATA_FLOAT);
  const std::pair<cudnnBackendAttributeName_t, size_t> tensors[] = {
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, n.x},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, n.dy},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, n.mean},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, n.rstd},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, n.gamma},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, n.dgamma},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC, n.dbeta},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC, n.dy_factor},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC, n.x_factor},
      {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS, n.constant}};
  for (const auto& [name, tensor] : tensors) d.set(name, tensors_[tensor]);
  d.finalize();
  operations_.push_back(std::move(d));
}

void Graph::statistics(size_t x, size_t sum, size_t squares) {
  Descriptor d(CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_GENSTATS_SUM_SQSUM);
  d.set(CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_DATA_FLOAT);
  d.set(CUDNN_ATTR_OPERATION_GENSTATS_XDESC, tensors_[x]);
  d.set(CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, tensors_[sum]);
  d.set(CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, tensors_[squares]);
  d.finalize();
  operations_.push_back(std::move(d));
}

Descriptor Graph::finalize(const Target& target) const {
  Descriptor d(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_);
  target.bind_graph(d);
  d.finalize();
  return d;
}

}  // namespace unetd::cudnn
