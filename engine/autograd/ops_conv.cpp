#include "engine/autograd/ops.h"
#include "engine/op/conv2d.h"
#include "engine/op/conv_transpose2x2.h"

namespace unetd {
namespace {

// Both kinds of convolution: gradients of the input, the filter and the bias from dy.
template <class DataGrad, class WeightGrad, class Geometry>
Graph::Record record_gradients(const Geometry& geometry, Value x, Value w, Value bias,
                               DType dtype) {
  return [=](Graph& g, Value dy) {
    if (g.needs_grad(w)) {
      const Value dw = g.new_grad(w), dbias = bias ? g.new_grad(bias) : Value{};
      g.emit(WeightGrad{geometry, static_cast<bool>(bias), dtype}, {x, dy}, {dw, dbias});
      g.add_grad(w, dw);
      if (bias) g.add_grad(bias, dbias);
    }
    if (g.needs_grad(x)) {
      const Value dx = g.new_grad(x);
      g.emit(DataGrad{geometry, dtype}, {dy, w}, {dx});
      g.add_grad(x, dx);
    }
  };
}

void check_filter(const Graph& g, Value x, Value w, Value bias) {
  const auto &xi = g.info(x), &wi = g.info(w);
  UNETD_CHECK(wi.shape.c == xi.shape.c, wi.name, " wants ", wi.shape.c, " input channels, ",
              xi.name, " has ", xi.shape.c);
  UNETD_CHECK(wi.dtype == xi.dtype, wi.name, " is ", name_of(wi.dtype), ", ", xi.name, " is ",
              name_of(xi.dtype));
  if (bias) {
    const auto& bi = g.info(bias);
    UNETD_CHECK(bi.shape == (Shape{1, 1, 1, wi.shape.n}) && bi.dtype == wide_type(wi.dtype),
                bi.name, " is ", name_of(bi.dtype), " ", bi.shape, " beside a filter ",
                name_of(wi.dtype), " ", wi.shape);
  }
}

}  // namespace

Value conv2d(Graph& g, Value x, Value w, Value bias, const ConvOptions& options) {
  check_filter(g, x, w, bias);
  const auto &xi = g.info(x), &wi = g.info(w);
  const ConvGeometry geometry{xi.shape,   wi.shape.n,     wi.shape.h,
                              wi.shape.w, options.stride, options.pad};
  const Shape out = geometry.y();
  UNETD_CHECK(out.h > 0 && out.w > 0, xi.name, " of ", xi.shape, " is smaller than the kernel of ",
              wi.name);
  const DType dtype = xi.dtype;
  const Value y = g.value(out, dtype, wi.name + ".conv");
  g.emit(Conv2d{geometry, static_cast<bool>(bias), options.relu, dtype}, {x, w, bias}, {y});
  if (options.relu) return y;
  g.on_backward(y, {x, w, bias},
                record_gradients<Conv2dDataGrad, Conv2dWeightGrad>(geometry, x, w, bias, dtype));
  return y;
}

Value conv_transpose2x2(Graph& g, Value x, Value w, Value bias) {
  check_filter(g, x, w, bias);
  const auto &xi = g.info(x), &wi = g.info(w);
  UNETD_CHECK(wi.kind == Kind::transposed_filter && wi.shape.h == 2 && wi.shape.w == 2, wi.name,
              " of ", wi.shape, " is no 2x2 transposed filter");
  const UpConvGeometry geometry{xi.shape, wi.shape.n};
  const DType dtype = xi.dtype;
  const Value y = g.value(geometry.y(), dtype, wi.name + ".up");
  g.emit(ConvTranspose2x2{geometry, static_cast<bool>(bias), dtype}, {x, w, bias}, {y});
  g.on_backward(y, {x, w, bias},
                record_gradients<ConvTranspose2x2DataGrad, ConvTranspose2x2WeightGrad>(
                    geometry, x, w, bias, dtype));
  return y;
}

}  // namespace unetd
