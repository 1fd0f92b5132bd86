// Networks that predict a value a pixel, such as a density: the scale in which they learn their
// targets, and how far off they are. Targets are f32 (n, h, w, 1), NaN where there is none.
#pragma once

#include "engine/op/regression.h"
#include "engine/tensor/tensor.h"

#include <cstdint>
#include <span>

namespace unetd {

// target in its unit = shift + scale * what the network gives
struct TargetScale {
  double shift = 0, scale = 1;

  bool operator==(const TargetScale&) const = default;
};
Tensor as_learnt(const Tensor& targets, const TargetScale& scale);
void bring_to_unit(std::span<float> values, const TargetScale& scale);

// Of an image whose values are on the host. Throws Error for a value that is not finite where there
// is a target: the network has failed.
ImageErrors image_errors(std::span<const float> values, std::span<const float> targets);

// Sums over images. What is added is in the scale of the network, what is told in the unit.
class ErrorTally {
 public:
  explicit ErrorTally(const TargetScale& scale = {}) : scale_(scale) {}

  void add(const ImageErrors& image);

  // NaN where nothing was counted, r2 also where all targets are equal.
  struct Scores {
    int64_t pixels = 0;
    double rmse = 0, mae = 0;
    double bias = 0;        // mean of e, the error: by how much the total is off, per pixel
    double r2 = 0;          // 1 - sum of e^2 / sum of (t - mean of t)^2
    double mass_error = 0;  // sum over images of |sum of e| / sum over images of |sum of t|
    double target_mean = 0, target_deviation = 0;
  };
  Scores scores() const;

 private:
  TargetScale scale_;
  ImageErrors all_;
  double image_error_ = 0, image_target_ = 0;  // in the unit
};

}  // namespace unetd
