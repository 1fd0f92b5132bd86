#include "engine/autograd/ops.h"
#include "engine/op/loss.h"
#include "engine/op/optimizer.h"

namespace unetd {
namespace {

// A loss node yields its own gradient along with the value: the backward closure only hands it on.
template <class Loss>
Value fused_loss(Graph& g, Value logits, Value labels, Value weights, Value scale) {
  const auto xi = g.info(logits);
  const auto& li = g.info(labels);
  UNETD_CHECK(li.dtype == DType::u8 && li.kind == Kind::dense &&
                  li.shape == (Shape{xi.shape.n, xi.shape.h, xi.shape.w, 1}),
              li.name, " of ", li.shape, " does not label ", xi.name, " of ", xi.shape);
  const DType accumulated = xi.dtype == DType::f64 ? DType::f64 : DType::f32;
  if (weights) {
    const auto& wi = g.info(weights);
    UNETD_CHECK(wi.shape == (Shape{1, 1, 1, xi.shape.c}) && wi.dtype == accumulated, wi.name,
                " has shape ", wi.shape, ", wanted one weight for each of ", xi.shape.c,
                " classes");
  }
  const Value loss = g.value({1, 1, 1, 1}, accumulated, "loss", Kind::dense);
  const Value dlogits = g.value(xi.shape, xi.dtype, xi.name + ".grad");
  g.emit(Loss{xi.shape, static_cast<bool>(weights), xi.dtype}, {logits, labels, weights},
         {loss, dlogits});
  g.on_backward(loss, {logits}, [=](Graph& b, Value dy) {
    UNETD_CHECK(!dy, "a loss carries its own gradient and must come last");
    if (!scale) return b.add_grad(logits, dlogits);
    const Value scaled = b.new_grad(logits);
    b.emit(ScaleGradient{xi.shape, xi.dtype}, {dlogits, scale}, {scaled});
    b.add_grad(logits, scaled);
  });
  g.mark_output(loss);
  return loss;
}

}  // namespace

Value cross_entropy(Graph& g, Value logits, Value labels, Value weights, Value loss_scale) {
  return fused_loss<CrossEntropy>(g, logits, labels, weights, loss_scale);
}

Value bce_with_logits(Graph& g, Value logits, Value labels, Value pos_weight, Value loss_scale) {
  return fused_loss<BceWithLogits>(g, logits, labels, pos_weight, loss_scale);
}

}  // namespace unetd
