// Scores of a segmentation from one confusion matrix, summed over every pixel of every image.
// Nothing is averaged over batches or images, so the figures do not depend on how the data were
// cut.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace unetd {

class Confusion {
 public:
  explicit Confusion(int64_t classes) : classes_(classes), counts_(classes * classes) {}
  // Counts by row = truth, column = prediction.
  Confusion(int64_t classes, std::vector<int64_t> counts);

  // Pairs of (truth, prediction); truths of 255 (ignore) are left out. Throws Error for a
  // prediction that is none: the network's output was not a number.
  void add(std::span<const uint8_t> truth, std::span<const uint8_t> prediction);

  int64_t classes() const { return classes_; }
  int64_t count(int64_t truth, int64_t prediction) const {
    return counts_[static_cast<size_t>(truth * classes_ + prediction)];
  }
  int64_t total() const;

 private:
  int64_t classes_;
  std::vector<int64_t> counts_;  // row = truth, column = prediction
};

// With TP, FP, FN of a class:  IoU = TP / (TP + FP + FN),  Dice (F1) = 2 TP / (2 TP + FP + FN),
// precision = TP / (TP + FP),  recall = TP / (TP + FN),  accuracy = (TP + TN) / all.
// A score whose denominator is 0 is NaN: the class occurs in neither map.
struct ClassScores {
  double accuracy, iou, dice, precision, recall;
  int64_t pixels;  // of the truth
};

struct Scores {
  std::vector<ClassScores> classes;
  double accuracy = 0;                 // share of pixels whose class is right
  double mean_iou = 0, mean_dice = 0;  // over the classes that occur
  double mean_precision = 0, mean_recall = 0;
};

Scores scores(const Confusion& confusion);

// What probabilities claimed and what was true, over the same pixels (engine/op/classify.h:
// ProbabilityCounts).
struct ProbabilityTally {
  double threshold = 0.5;
  std::vector<int64_t> claimed,
      hit;  // of each class: its probability exceeds the threshold; rightly
  // Pixels by their confidence, the largest probability.
  struct Bin {
    int64_t pixels = 0, right = 0;
    double confidence = 0;  // sum
  };
  std::vector<Bin> bins;
};

// The scores of each class where its probability exceeds the threshold, each class by itself; the
// pixels of the truth are those of `confusion`.
std::vector<ClassScores> scores_at_threshold(const ProbabilityTally& tally,
                                             const Confusion& confusion);

// Expected calibration error (Guo et al., 2017): the mean over all pixels of the distance between
// confidence and accuracy of their bin. NaN without a pixel.
double calibration_error(const ProbabilityTally& tally);

// All that is counted of a network's outputs; the tally is absent where only classes were seen.
struct Tallies {
  Confusion confusion;
  std::optional<ProbabilityTally> probabilities;
};

}  // namespace unetd
