#include "engine/autograd/ops.h"
#include "engine/op/cast.h"
#include "engine/op/dropout.h"
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

Value dropout(Graph& g, Value x, Value batch, const DropoutOptions& options) {
  const auto xi = g.info(x), bi = g.info(batch);
  UNETD_CHECK(options.rate >= 0 && options.rate < 1, xi.name, ": dropout of ", options.rate);
  UNETD_CHECK(bi.dtype == DType::i64 && bi.kind == Kind::dense && bi.shape.count() == 1, bi.name,
              " is no number of a batch");
  UNETD_CHECK(xi.shape.pixels() < int64_t{1} << 32, xi.name, " of ", xi.shape,
              " has too many pixels for dropout");
  const Dropout problem{xi.shape, options.rate, options.seed, xi.dtype};
  const Value y = g.value(xi.shape, xi.dtype, xi.name + ".dropout");
  g.emit(problem, {x, batch}, {y});
  g.on_backward(y, {x}, [=](Graph& b, Value dy) {
    const Value dx = b.new_grad(x);
    b.emit(problem, {dy, batch}, {dx});
    b.add_grad(x, dx);
  });
  return y;
}

Value cast(Graph& g, Value x, DType to) {
  const auto xi = g.info(x);
  const Cast problem{xi.shape, xi.kind, xi.dtype, to};
  const Value y = g.value(xi.shape, problem.result(), str(xi.name, ".", name_of(to)), xi.kind);
  g.emit(problem, {x}, {y});
  // The gradient of a filter is wide, whatever the filter's type: then this is a copy.
  g.on_backward(y, {x}, [=](Graph& b, Value dy) {
    const Value dx = b.new_grad(x);
    b.emit(Cast{xi.shape, xi.kind, b.info(dy).dtype, b.info(dx).dtype}, {dy}, {dx});
    b.add_grad(x, dx);
  });
  return y;
}

}  // namespace unetd
