#include "unet/metrics.h"

#include "engine/base/threads.h"
#include "engine/op/loss.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace unetd {

void Confusion::add(std::span<const uint8_t> truth, std::span<const uint8_t> prediction) {
  UNETD_CHECK(truth.size() == prediction.size(), truth.size(), " labels for ", prediction.size(),
              " predictions");
  for (size_t i = 0; i < truth.size(); ++i) {
    if (truth[i] == ignore_label) continue;
    UNETD_CHECK(truth[i] < classes_ && prediction[i] < classes_, "class ", int{truth[i]}, " or ",
                int{prediction[i]}, " of ", classes_);
    ++counts_[static_cast<size_t>(truth[i] * classes_ + prediction[i])];
  }
}

void Confusion::add(const Confusion& other) {
  UNETD_CHECK(other.classes_ == classes_, classes_, " and ", other.classes_, " classes");
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
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

}  // namespace

Scores scores(const Confusion& confusion) {
  const int64_t n = confusion.classes(), all = confusion.total();
  Scores result;
  int64_t right = 0;
  for (int64_t k = 0; k < n; ++k) {
    int64_t in_truth = 0, predicted = 0;
    for (int64_t j = 0; j < n; ++j) {
      in_truth += confusion.count(k, j);
      predicted += confusion.count(j, k);
    }
    const int64_t tp = confusion.count(k, k), fp = predicted - tp, fn = in_truth - tp;
    right += tp;
    result.classes.push_back({ratio(all - fp - fn, all), ratio(tp, tp + fp + fn),
                              ratio(2 * tp, 2 * tp + fp + fn), ratio(tp, predicted),
                              ratio(tp, in_truth), in_truth});
  }
  result.accuracy = ratio(right, all);
  result.mean_iou = mean_of(result.classes, &ClassScores::iou);
  result.mean_dice = mean_of(result.classes, &ClassScores::dice);
  result.mean_precision = mean_of(result.classes, &ClassScores::precision);
  result.mean_recall = mean_of(result.classes, &ClassScores::recall);
  return result;
}

std::vector<uint8_t> predicted_classes(const Tensor& values, float threshold) {
  const std::span<const float> x = values.span<float>();
  const int64_t c = values.shape().c;
  std::vector<uint8_t> classes(static_cast<size_t>(values.shape().pixels()));
  parallel_for(values.shape().n * values.shape().h, [&](int64_t row) {
    for (int64_t i = row * values.shape().w; i < (row + 1) * values.shape().w; ++i) {
      const float* at = x.data() + i * c;
      int64_t best = 0;
      for (int64_t k = 1; k < c; ++k) best = at[k] > at[best] ? k : best;
      if (c == 1) best = at[0] > threshold ? 1 : 0;
      classes[static_cast<size_t>(i)] = static_cast<uint8_t>(best);
    }
  });
  return classes;
}

}  // namespace unetd
