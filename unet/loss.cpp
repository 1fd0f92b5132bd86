#include "unet/loss.h"

#include "engine/autograd/ops.h"

namespace unetd {
namespace {

using Type = Config::LossType;

Value record_overlap(Graph& g, Value logits, Value labels, Value weights,
                     const Config::Loss& config, Type type, const LossOptions& options) {
  const bool sigmoid = config.independent_outputs() || g.info(logits).shape.c == 1;
  TverskyOptions overlap{.activation = sigmoid ? Activation::sigmoid : Activation::softmax,
                         .smooth = static_cast<float>(config.smooth)};
  if (type == Type::tversky) {
    overlap.alpha = static_cast<float>(config.tversky_alpha);
    overlap.beta = static_cast<float>(config.tversky_beta);
  }
  return tversky_loss(g, logits, labels, weights, overlap, options);
}

Value record_term(Graph& g, Value logits, Value labels, Value weights, const Config::Loss& config,
                  Type type, const LossOptions& options) {
  const auto gamma = static_cast<float>(config.focal_gamma);
  switch (type) {
    case Type::cross_entropy:
      if (g.info(logits).shape.c == 1) {
        throw UsageError("loss.type has cross_entropy, but the network has one output; use bce");
      }
      if (config.focal_gamma > 0 && config.label_smoothing > 0) {
        throw UsageError(
            "loss.focal_gamma and loss.label_smoothing exclude each other: set one to 0");
      }
      return cross_entropy(g, logits, labels, weights, options,
                           {gamma, static_cast<float>(config.label_smoothing)});
    case Type::bce:
      return bce_with_logits(g, logits, labels, weights, options, gamma);
    case Type::dice:
    case Type::tversky:
      return record_overlap(g, logits, labels, weights, config, type, options);
    case Type::mse:
    case Type::l1:
    case Type::mass:
      break;
  }
  throw Error("a loss on classes of unknown type");
}

RegressionLoss::Norm norm_of(Type type) {
  switch (type) {
    case Type::mse:
      return RegressionLoss::Norm::squared;
    case Type::l1:
      return RegressionLoss::Norm::absolute;
    case Type::mass:
      return RegressionLoss::Norm::mass;
    default:
      throw Error("a loss on values of unknown type");
  }
}

}  // namespace

RecordedLoss record_loss(Graph& g, Value outputs, Value labels, std::span<const Value> weights,
                         const Config::Loss& config, Value loss_scale) {
  UNETD_CHECK(weights.empty() || weights.size() == config.terms.size(), weights.size(),
              " weights for ", config.terms.size(), " terms of a loss");
  RecordedLoss recorded;
  if (config.of_values()) {
    const int64_t channels = g.info(outputs).shape.c;
    if (channels != 1)
      throw UsageError(str("loss.type has mse, l1 or mass, which take one output, but the network ",
                           "has ", channels, "; set model.classes to 1"));
    recorded.errors = error_sums(g, outputs, labels);
  }
  for (size_t i = 0; i < config.terms.size(); ++i) {
    const Type type = config.terms[i].type;
    const LossOptions options{static_cast<float>(config.terms[i].factor), loss_scale};
    const Value weight = weights.empty() ? Value{} : weights[i];
    const Value term =
        config.of_values()
            ? regression_loss(g, outputs, labels, recorded.errors, norm_of(type), options)
            : record_term(g, outputs, labels, weight, config, type, options);
    recorded.loss = recorded.loss ? add_losses(g, recorded.loss, term) : term;
  }
  return recorded;
}

TermWeights weights_of(const Config::Loss& config, Type type) {
  static const Config::Weights none;
  switch (type) {
    case Type::cross_entropy:
      return {"loss.class_weights", config.class_weights};
    case Type::bce:
      return {"loss.pos_weight", config.pos_weight, /*of_positives=*/true};
    case Type::dice:
    case Type::tversky:
      return {"loss.overlap_weights", config.overlap_weights};
    case Type::mse:
    case Type::l1:
    case Type::mass:
      return {"", none};
  }
  throw Error("a loss of unknown type");
}

}  // namespace unetd
