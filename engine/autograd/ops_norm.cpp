#include "engine/autograd/ops.h"
#include "engine/op/batch_norm.h"

namespace unetd {
namespace {

void check_vectors(const Graph& g, Value x, const BatchNormValues& p) {
  const Shape vector{1, 1, 1, g.info(x).shape.c};
  for (const Value v : {p.gamma, p.beta, p.running_mean, p.running_var}) {
    const auto& info = g.info(v);
    UNETD_CHECK(info.shape == vector && info.dtype == wide_type(g.info(x).dtype), info.name,
                " has shape ", info.shape, " beside ", g.info(x).name, " of ", g.info(x).shape);
  }
}

}  // namespace

Value batch_norm(Graph& g, Value x, const BatchNormValues& p, const BatchNormOptions& options) {
  check_vectors(g, x, p);
  const auto xi = g.info(x);
  const Shape vector{1, 1, 1, xi.shape.c};
  const DType statistics = wide_type(xi.dtype);
  const Value mean = g.value(vector, statistics, xi.name + ".mean");
  const Value rstd = g.value(vector, statistics, xi.name + ".rstd");
  const Value y = g.value(xi.shape, xi.dtype, xi.name + ".bn");
  g.emit(BatchNormStats{xi.shape, options.eps, options.momentum, xi.dtype}, {x},
         {mean, rstd, p.running_mean, p.running_var});
  g.emit(BatchNormApply{xi.shape, options.relu, xi.dtype}, {x, p.gamma, p.beta, mean, rstd}, {y});
  g.on_backward(y, {x, p.gamma, p.beta}, [=](Graph& b, Value dy) {
    const Value dx = b.new_grad(x), dgamma = b.new_grad(p.gamma), dbeta = b.new_grad(p.beta);
    b.emit(BatchNormGrad{xi.shape, options.relu, xi.dtype}, {x, dy, p.gamma, p.beta, mean, rstd},
           {dx, dgamma, dbeta});
    b.add_grad(x, dx);
    b.add_grad(p.gamma, dgamma);
    b.add_grad(p.beta, dbeta);
  });
  return y;
}

Value batch_norm_inference(Graph& g, Value x, const BatchNormValues& p,
                           const BatchNormOptions& options) {
  check_vectors(g, x, p);
  const auto xi = g.info(x);
  const Value y = g.value(xi.shape, xi.dtype, xi.name + ".bn");
  g.emit(BatchNormInference{xi.shape, options.eps, options.relu, xi.dtype},
         {x, p.gamma, p.beta, p.running_mean, p.running_var}, {y});
  return y;
}

}  // namespace unetd
