#include "unet/metrics.h"

#include "engine/base/error.h"
#include "engine/op/classify.h"
#include "engine/op/loss.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace unetd {

Confusion::Confusion(int64_t classes, std::vector<int64_t> counts)
    : classes_(classes), counts_(std::move(counts)) {
  UNETD_CHECK(static_cast<int64_t>(counts_.size()) == classes * classes, counts_.size(),
              " counts of ", classes, " classes");
}

void Confusion::add(std::span<const uint8_t> truth, std::span<const uint8_t> prediction) {
  UNETD_CHECK(truth.size() == prediction.size(), truth.size(), " labels for ", prediction.size(),
              " predictions");
  for (size_t i = 0; i < truth.size(); ++i) {
    if (truth[i] == ignore_label) continue;
    UNETD_CHECK(prediction[i] != no_class, "the network's output is not a number");
    UNETD_CHECK(truth[i] < classes_ && prediction[i] < classes_, "class ", int{truth[i]}, " or ",
                int{prediction[i]}, " of ", classes_);
    ++counts_[static_cast<size_t>(truth[i] * classes_ + prediction[i])];
  }
}

int64_t Confusion::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
}

namespace {

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                    : static_cast<double>(part) / static_cast<double>(whole);
}

double mean_of(const std::vector<ClassScores>& classes, double ClassScores::*score) {
  double sum = 0;
  int64_t number = 0;
  for (const ClassScores& c : classes) {
    if (std::isnan(c.*score)) continue;
    sum += c.*score;
    ++number;
  }
  return number == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(number);
}

// With tp, fp, fn of a class among `all` pixels.
ClassScores class_scores(int64_t tp, int64_t fp, int64_t fn, int64_t all) {
  return {ratio(all - fp - fn, all), ratio(tp, tp + fp + fn), ratio(2 * tp, 2 * tp + fp + fn),
          ratio(tp, tp + fp),        ratio(tp, tp + fn),      tp + fn};
}

int64_t pixels_of(const Confusion& confusion, int64_t truth) {
  int64_t sum = 0;
  for (int64_t j = 0; j < confusion.classes(); ++j) sum += confusion.count(truth, j);
  return sum;
}

}  // namespace

Scores scores(const Confusion& confusion) {
  const int64_t n = confusion.classes(), all = confusion.total();
  Scores result;
  int64_t right = 0;
  for (int64_t k = 0; k < n; ++k) {
    int64_t predicted = 0;
    for (int64_t j = 0; j < n; ++j) predicted += confusion.count(j, k);
    const int64_t tp = confusion.count(k, k);
    right += tp;
    result.classes.push_back(class_scores(tp, predicted - tp, pixels_of(confusion, k) - tp, all));
  }
  result.accuracy = ratio(right, all);
  result.mean_iou = mean_of(result.classes, &ClassScores::iou);
  result.mean_dice = mean_of(result.classes, &ClassScores::dice);
  result.mean_precision = mean_of(result.classes, &ClassScores::precision);
  result.mean_recall = mean_of(result.classes, &ClassScores::recall);
  return result;
}

std::vector<ClassScores> scores_at_threshold(const ProbabilityTally& tally,
                                             const Confusion& confusion) {
  std::vector<ClassScores> classes;
  for (int64_t k = 0; k < confusion.classes(); ++k) {
    const int64_t tp = tally.hit.at(static_cast<size_t>(k)),
                  fp = tally.claimed.at(static_cast<size_t>(k)) - tp;
    classes.push_back(class_scores(tp, fp, pixels_of(confusion, k) - tp, confusion.total()));
  }
  return classes;
}

double calibration_error(const ProbabilityTally& tally) {
  double distance = 0;
  int64_t pixels = 0;
  for (const ProbabilityTally::Bin& bin : tally.bins) {
    distance += std::abs(bin.confidence - static_cast<double>(bin.right));
    pixels += bin.pixels;
  }
  return pixels == 0 ? std::numeric_limits<double>::quiet_NaN()
                     : distance / static_cast<double>(pixels);
}

}  // namespace unetd
