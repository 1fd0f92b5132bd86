#include "tools/loss_weights.h"

#include "engine/base/error.h"
#include "unet/loss.h"

#include <cmath>
#include <numeric>

namespace unetd {
namespace {

// Negative pixels over positive ones of each class, or the root of that; 1 for a class without any.
// The positive class of a lone output is the second. `pixels` ends with the ignored ones.
std::vector<float> positive_weights(const std::vector<int64_t>& pixels, Config::Weighting kind,
                                    int64_t outputs) {
  const double all = std::accumulate(pixels.begin(), pixels.end() - 1, 0.0);
  const int64_t first = outputs == 1 && pixels.size() > 2 ? 1 : 0;
  std::vector<float> weights;
  for (int64_t c = 0; c < outputs; ++c) {
    const auto count = static_cast<double>(pixels[static_cast<size_t>(c + first)]);
    const double ratio = count > 0 ? (all - count) / count : 1;
    const bool root = kind == Config::Weighting::inverse_sqrt;
    weights.push_back(static_cast<float>(root ? std::sqrt(ratio) : ratio));
  }
  return weights;
}

// One factor a class for a term of the loss, from the configuration and the class counts of the
// train split.
std::vector<float> class_weights(const TermWeights& term, double beta,
                                 const io::StoreSchema& schema, int64_t outputs) {
  const Config::Weights& wanted = term.weights;
  if (wanted.kind == Config::Weighting::none) return {};
  if (wanted.kind == Config::Weighting::list) {
    if (static_cast<int64_t>(wanted.values.size()) != outputs) {
      throw UsageError(str(term.key, " has ", wanted.values.size(), " values, the network ",
                           outputs, " outputs"));
    }
    return {wanted.values.begin(), wanted.values.end()};
  }
  const std::vector<int64_t>& pixels = schema.class_pixels[static_cast<size_t>(io::Split::train)];
  if (term.of_positives) return positive_weights(pixels, wanted.kind, outputs);
  std::vector<float> weights;
  double sum = 0, present = 0;
  for (int64_t c = 0; c < outputs; ++c) {
    const auto count = static_cast<double>(pixels[static_cast<size_t>(c)]);
    // A class without a pixel has no loss to weigh.
    double weight = count > 0 ? 1 / count : 0;
    if (wanted.kind == Config::Weighting::inverse_sqrt) weight = std::sqrt(weight);
    if (wanted.kind == Config::Weighting::effective_number && count > 0) {
      // Cui et al., 2019. Pixels count by the thousand: neighbours are hardly separate samples.
      weight = (1 - beta) / (1 - std::pow(beta, count / 1000));
    }
    weights.push_back(static_cast<float>(weight));
    sum += weight;
    present += count > 0 ? 1 : 0;
  }
  for (float& w : weights) w = static_cast<float>(w * present / sum);
  return weights;
}

}  // namespace

std::vector<std::vector<float>> loss_weights(const Config::Loss& loss,
                                             const io::StoreSchema& schema, int64_t outputs) {
  std::vector<std::vector<float>> all;
  for (const Config::LossTerm& term : loss.terms) {
    all.push_back(class_weights(weights_of(loss, term.type), loss.effective_beta, schema, outputs));
  }
  return all;
}

}  // namespace unetd
