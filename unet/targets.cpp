#include "unet/targets.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace unetd {

Tensor as_learnt(const Tensor& targets, const TargetScale& scale) {
  Tensor learnt = targets.clone();
  for (float& t : learnt.span<float>()) t = static_cast<float>((t - scale.shift) / scale.scale);
  return learnt;
}

void bring_to_unit(std::span<float> values, const TargetScale& scale) {
  for (float& v : values) v = static_cast<float>(scale.shift + scale.scale * v);
}

ImageErrors image_errors(std::span<const float> values, std::span<const float> targets) {
  UNETD_CHECK(values.size() == targets.size(), values.size(), " values for ", targets.size(),
              " targets");
  ImageErrors sum;
  for (size_t i = 0; i < values.size(); ++i) {
    const double t = targets[i], e = values[i] - t;
    if (std::isnan(t)) continue;
    UNETD_CHECK(std::isfinite(e), "the network's output is not a number");
    sum.pixels += 1;
    sum.error += e;
    sum.absolute += std::abs(e);
    sum.squared += e * e;
    sum.target += t;
    sum.target_squared += t * t;
  }
  return sum;
}

void ErrorTally::add(const ImageErrors& image) {
  all_ = all_ + image;
  image_error_ += std::abs(scale_.scale * image.error);
  image_target_ += std::abs(image.pixels * scale_.shift + scale_.scale * image.target);
}

ErrorTally::Scores ErrorTally::scores() const {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  const double n = all_.pixels;
  if (n == 0) return {0, none, none, none, none, none, none, none};
  const double mean = all_.target / n, spread = all_.target_squared - n * mean * mean;
  return {.pixels = static_cast<int64_t>(n),
          .rmse = scale_.scale * std::sqrt(all_.squared / n),
          .mae = scale_.scale * all_.absolute / n,
          .bias = scale_.scale * all_.error / n,
          .r2 = spread > 0 ? 1 - all_.squared / spread : none,
          .mass_error = image_target_ > 0 ? image_error_ / image_target_ : none,
          .target_mean = scale_.shift + scale_.scale * mean,
          .target_deviation = scale_.scale * std::sqrt(std::max(0.0, spread / n))};
}

}  // namespace unetd
