#include "engine/autograd/ops.h"
#include "engine/op/pointwise.h"

namespace unetd {
namespace {

template <class Forward, class Gradient>
Value unary(Graph& g, Value x) {
  const auto xi = g.info(x);
  const Value y = g.value(xi.shape, xi.dtype, xi.name + "." + Forward::name);
  g.emit(Forward{{xi.shape, xi.dtype}}, {x}, {y});
  g.on_backward(y, {x}, [=](Graph& b, Value dy) {
    const Value dx = b.new_grad(x);
    b.emit(Gradient{{xi.shape, xi.dtype}}, {y, dy}, {dx});
    b.add_grad(x, dx);
  });
  return y;
}

}  // namespace

Value relu(Graph& g, Value x) { return unary<Relu, ReluGrad>(g, x); }
Value sigmoid(Graph& g, Value x) { return unary<Sigmoid, SigmoidGrad>(g, x); }
Value softmax(Graph& g, Value x) { return unary<Softmax, SoftmaxGrad>(g, x); }

Value add(Graph& g, Value a, Value b) {
  const auto &ai = g.info(a), &bi = g.info(b);
  UNETD_CHECK(ai.shape == bi.shape && ai.dtype == bi.dtype, ai.name, " of ", ai.shape, " and ",
              bi.name, " of ", bi.shape, " cannot be added");
  const Add problem{ai.shape, ai.dtype};
  const Value y = g.value(ai.shape, ai.dtype, ai.name + ".add");
  g.emit(problem, {a, b}, {y});
  g.on_backward(y, {a, b}, [=](Graph& backward, Value dy) {
    if (backward.needs_grad(a)) backward.add_grad(a, dy);
    if (backward.needs_grad(b)) backward.add_grad(b, dy);
  });
  return y;
}

}  // namespace unetd
