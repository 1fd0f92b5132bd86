// A graph of cuDNN operations on dense NHWC images and KRSC filters, as much as convolutions with
// bias, ReLU or statistics need. All arithmetic is in f32, whatever the tensors are stored in.
#pragma once

#include "engine/base/dtype.h"
#include "engine/tensor/shape.h"
#include "kernels/cudnn/descriptor.h"
#include "kernels/cudnn/target.h"

#include <array>

namespace unetd::cudnn {

class Graph {
 public:
  static constexpr int64_t alignment = 16;

  // `text` names the problem in messages and on disk: equal texts, equal graphs. `dtype` is the
  // storage type of images and filters.
  Graph(std::string text, DType dtype);

  // Tensors in memory, aligned to so many bytes: Plan::run() gets their pointers in the order in
  // which they are declared here. The result is the tensor's number in this graph.
  size_t image(const Shape& shape);
  size_t filter(const Shape& shape) { return image(shape); }  // KRSC lies as NHWC does
  // (k, 2, 2, c) of a transposed convolution, as the filter of the convolution from k to c channels
  // whose transpose it is.
  size_t transposed_filter(const Shape& shape);
  size_t vector(int64_t channels);  // f32
  // A tensor of f32 that only exists while the graph's kernel runs.
  size_t intermediate(const Shape& shape);

  // result = convolution of image with filter, or what is named of them is computed from the other
  // two. Strides and paddings are those of the convolution from image to result.
  enum class Compute : uint8_t { result, image, filter };
  struct Convolution {
    Compute compute;
    size_t image, filter, result;
    int64_t stride, pad;
  };
  void convolution(const Convolution& c);
  // y = x + v and the like: of each pixel of x with a vector, or of two images.
  void add(size_t x, size_t v, size_t y);
  void subtract(size_t x, size_t v, size_t y);
  void multiply(size_t x, size_t v, size_t y);
  void relu(size_t x, size_t y);
  // dx = dy where y, the result of relu(), has come of numbers above zero, else 0.
  void relu_gradient(size_t dy, size_t y, size_t dx);
  // Vectors of the sums of x and of x^2 over all pixels.
  void statistics(size_t x, size_t sum, size_t squares);
  // Gradients of a batch norm of x, whose result has the gradient dy. That of x is told as
  // dx = dy_factor * dy + x_factor * x + constant, vectors as the others.
  struct NormGradient {
    size_t x, dy, mean, rstd, gamma;
    size_t dgamma, dbeta, dy_factor, x_factor, constant;
  };
  void norm_gradient(const NormGradient& n);

  const std::string& text() const { return text_; }
  DType dtype() const { return dtype_; }
  // Bytes of the tensors in memory, in the order of their declaration.
  const std::vector<size_t>& argument_bytes() const { return argument_bytes_; }
  const std::vector<int64_t>& argument_ids() const { return argument_ids_; }

  // cuDNN's descriptor, which refers to this graph's tensors and operations.
  Descriptor finalize(const Target& target) const;

 private:
  // Extents and strides in cuDNN's order: image, channel, row, column.
  using Extents = std::array<int64_t, 4>;
  size_t tensor(const Extents& extents, const Extents& strides, DType dtype, bool in_memory);
  void pointwise(cudnnPointwiseMode_t mode, size_t x, std::optional<size_t> v, size_t y);

  std::string text_;
  DType dtype_;
  std::vector<Descriptor> tensors_, attributes_, operations_;
  std::vector<size_t> argument_bytes_;
  std::vector<int64_t> argument_ids_;
};

}  // namespace unetd::cudnn
