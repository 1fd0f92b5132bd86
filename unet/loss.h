// The loss that a configuration asks for: a sum of the engine's losses with factors. Another kind
// of loss is one more name in the table of keys and one more case in this file.
#pragma once

#include "engine/autograd/graph.h"
#include "unet/config.h"

#include <span>

namespace unetd {

struct RecordedLoss {
  Value loss;    // a scalar
  Value errors;  // an ImageErrors for each image (engine/op/regression.h), where values are
                 // predicted
};

// labels: u8 classes, or f32 targets where config.of_values(). weights: one value for each term of
// config.terms, absent where a term has none; or empty, for none at all. loss_scale: see
// LossOptions; may be absent. Throws UsageError where the outputs do not suit the loss.
RecordedLoss record_loss(Graph& g, Value outputs, Value labels, std::span<const Value> weights,
                         const Config::Loss& config, Value loss_scale = {});

// What weighs the classes in a term, and its key. Terms on values have none.
struct TermWeights {
  const char* key;
  const Config::Weights& weights;
  bool of_positives = false;  // weighs the positive pixels of independent classes
};
TermWeights weights_of(const Config::Loss& config, Config::LossType type);

}  // namespace unetd
