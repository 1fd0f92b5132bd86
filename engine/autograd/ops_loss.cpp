#include "engine/autograd/ops.h"
#include "engine/op/optimizer.h"
#include "engine/op/pointwise.h"

namespace unetd {
namespace {

constexpr const char* loss_comes_last = "a loss carries its own gradient and must come last";

// A loss node yields its own gradient along with the value: the backward closure only hands it on.
Value carry_gradient(Graph& g, Value loss, Value x, Value dx, Value loss_scale) {
  const auto xi = g.info(x);
  g.on_backward(loss, {x}, [=](Graph& b, Value dy) {
    UNETD_CHECK(!dy, loss_comes_last);
    if (!loss_scale) return b.add_grad(x, dx);
    const Value scaled = b.new_grad(x);
    b.emit(ScaleGradient{xi.shape, xi.dtype}, {dx, loss_scale}, {scaled});
    b.add_grad(x, scaled);
  });
  g.mark_output(loss);
  return loss;
}

template <class Loss>
Value fused_loss(Graph& g, Value logits, Value labels, Value weights, Loss problem,
                 const LossOptions& options) {
  const auto xi = g.info(logits);
  const auto& li = g.info(labels);
  UNETD_CHECK(li.dtype == DType::u8 && li.kind == Kind::dense &&
                  li.shape == (Shape{xi.shape.n, xi.shape.h, xi.shape.w, 1}),
              li.name, " of ", li.shape, " does not label ", xi.name, " of ", xi.shape);
  const DType accumulated = wide_type(xi.dtype);
  if (weights) {
    const auto& wi = g.info(weights);
    UNETD_CHECK(wi.shape == (Shape{1, 1, 1, xi.shape.c}) && wi.dtype == accumulated, wi.name,
                " has shape ", wi.shape, ", wanted one weight for each of ", xi.shape.c,
                " classes");
  }
  const Value loss = g.value({1, 1, 1, 1}, accumulated, Loss::name, Kind::dense);
  const Value dlogits = g.value(xi.shape, xi.dtype, xi.name + ".grad");
  problem.logits = xi.shape;
  problem.weighted = static_cast<bool>(weights);
  problem.factor = options.factor;
  problem.dtype = xi.dtype;
  g.emit(problem, {logits, labels, weights}, {loss, dlogits});
  return carry_gradient(g, loss, logits, dlogits, options.loss_scale);
}

// Targets must be dense f32, one for each pixel of values of one channel.
void check_targets(const Graph& g, Value values, Value targets) {
  const auto &vi = g.info(values), &ti = g.info(targets);
  UNETD_CHECK(vi.shape.c == 1, vi.name, " of ", vi.shape, " has more than a value a pixel");
  UNETD_CHECK(ti.dtype == DType::f32 && ti.kind == Kind::dense && ti.shape == vi.shape, ti.name,
              " is ", name_of(ti.dtype), " ", ti.shape, ", wanted dense f32 ", vi.shape);
}

}  // namespace

Value cross_entropy(Graph& g, Value logits, Value labels, Value weights, const LossOptions& options,
                    const EntropyOptions& entropy) {
  UNETD_CHECK(entropy.gamma == 0 || entropy.smoothing == 0,
              "a cross entropy cannot be both focal and smoothed");
  return fused_loss(g, logits, labels, weights,
                    CrossEntropy{.gamma = entropy.gamma, .smoothing = entropy.smoothing}, options);
}

Value bce_with_logits(Graph& g, Value logits, Value labels, Value pos_weight,
                      const LossOptions& options, float gamma) {
  return fused_loss(g, logits, labels, pos_weight, BceWithLogits{.gamma = gamma}, options);
}

Value tversky_loss(Graph& g, Value logits, Value labels, Value weights,
                   const TverskyOptions& tversky, const LossOptions& options) {
  const TverskyLoss problem{.logits = g.info(logits).shape,
                            .activation = tversky.activation,
                            .alpha = tversky.alpha,
                            .beta = tversky.beta,
                            .smooth = tversky.smooth};
  return fused_loss(g, logits, labels, weights, problem, options);
}

Value error_sums(Graph& g, Value values, Value targets) {
  check_targets(g, values, targets);
  const auto vi = g.info(values);
  const Value sums =
      g.value({vi.shape.n, 1, 1, error_fields}, DType::f64, vi.name + ".errors", Kind::dense);
  g.emit(ErrorSums{vi.shape, vi.dtype}, {values, targets}, {sums});
  return sums;
}

Value regression_loss(Graph& g, Value values, Value targets, Value sums, RegressionLoss::Norm norm,
                      const LossOptions& options) {
  check_targets(g, values, targets);
  const auto vi = g.info(values), si = g.info(sums);
  const Shape records{vi.shape.n, 1, 1, error_fields};
  UNETD_CHECK(si.dtype == DType::f64 && si.kind == Kind::dense && si.shape == records, si.name,
              " is ", name_of(si.dtype), " ", si.shape, ", wanted dense f64 ", records);
  const Value loss = g.value({1, 1, 1, 1}, wide_type(vi.dtype), RegressionLoss::name, Kind::dense);
  const Value dvalues = g.value(vi.shape, vi.dtype, vi.name + ".grad");
  g.emit(RegressionLoss{vi.shape, norm, options.factor, vi.dtype}, {values, targets, sums},
         {loss, dvalues});
  return carry_gradient(g, loss, values, dvalues, options.loss_scale);
}

Value add_losses(Graph& g, Value a, Value b) {
  const auto ai = g.info(a), bi = g.info(b);
  UNETD_CHECK(ai.shape.count() == 1 && bi.shape.count() == 1 && ai.dtype == bi.dtype, ai.name,
              " of ", ai.shape, " and ", bi.name, " of ", bi.shape, " are no two losses");
  const Value sum = g.value(ai.shape, ai.dtype, "loss", Kind::dense);
  g.emit(Add{ai.shape, ai.dtype, Kind::dense}, {a, b}, {sum});
  g.on_backward(sum, {a, b}, [=](Graph& backward, Value dy) {
    UNETD_CHECK(!dy, loss_comes_last);
    backward.reach(a);
    backward.reach(b);
  });
  g.mark_output(sum);
  return sum;
}

}  // namespace unetd
