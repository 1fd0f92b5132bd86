#include "unet/score_counter.h"

#include "engine/autograd/ops.h"
#include "engine/op/classify.h"

#include <cstring>
#include <utility>

namespace unetd {
namespace {

int64_t claim_count(int64_t classes) {
  return ProbabilityCounts{.values = {1, 1, 1, classes}}.count();
}

std::shared_ptr<Buffer> counts(DeviceType device, int64_t count) {
  return std::make_shared<Buffer>(device, static_cast<size_t>(count) * sizeof(int64_t));
}

// The numbers of a buffer, which is zero afterwards.
std::vector<int64_t> taken(const Buffer& buffer) {
  std::vector<int64_t> numbers(buffer.bytes() / sizeof(int64_t));
  Staging(buffer.device()).download(buffer.data(), buffer.bytes(), [&](const std::byte* from) {
    std::memcpy(numbers.data(), from, buffer.bytes());
    return 0;
  });
  Backend& device = backend(buffer.device());
  device.fill(buffer.data(), 0, buffer.bytes(), device.stream());
  return numbers;
}

}  // namespace

Value probabilities(Graph& g, Value logits, bool independent) {
  return independent || g.info(logits).shape.c == 1 ? sigmoid(g, logits) : softmax(g, logits);
}

ScoreCounter::ScoreCounter(DeviceType device, int64_t outputs, double threshold)
    : classes_(outputs == 1 ? 2 : outputs),
      threshold_(threshold),
      confusion_(counts(device, classes_ * classes_)),
      claims_(counts(device, claim_count(classes_))) {}

void ScoreCounter::record(Graph& g, Value values, float split, Value probabilities,
                          Value labels) const {
  confusion_matrix(g, values, labels, split,
                   g.external(confusion_, 0, {1, 1, classes_, classes_}, DType::i64, "confusion"));
  probability_counts(
      g, probabilities, labels, static_cast<float>(threshold_),
      g.external(claims_, 0, {1, 1, 1, claim_count(classes_)}, DType::i64, "claims"));
}

Tallies ScoreCounter::take() {
  const std::vector<int64_t> claims = taken(*claims_);
  ProbabilityTally tally{.threshold = threshold_};
  const auto begin = claims.begin(), middle = begin + classes_, end = middle + classes_;
  tally.claimed.assign(begin, middle);
  tally.hit.assign(middle, end);
  for (auto bin = end; bin != claims.end(); bin += ProbabilityCounts::fields) {
    tally.bins.push_back(
        {bin[0], bin[1], static_cast<double>(bin[2]) / double{ProbabilityCounts::unit}});
  }
  return {Confusion(classes_, taken(*confusion_)), std::move(tally)};
}

}  // namespace unetd
