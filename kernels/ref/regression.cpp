#include "engine/op/regression.h"

#include "kernels/ref/ref.h"

#include <cmath>
#include <span>

namespace unetd::ref {
namespace {

// visit(h, w, error, target) for the valid pixels of image n, in order.
template <class T, class F>
void for_each_valid(const Features<const T>& values, const float* targets, int64_t n, F&& visit) {
  const Shape& s = values.shape();
  for (int64_t h = 0; h < s.h; ++h) {
    for (int64_t w = 0; w < s.w; ++w) {
      const double target = targets[(n * s.h + h) * s.w + w];
      if (!std::isnan(target)) visit(h, w, values(n, h, w, 0) - target, target);
    }
  }
}

void error_sums(const ErrorSums& p, const ErrorSums::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> values(b.values, p.values);
    parallel_for(p.values.n, [&](int64_t n) {
      ImageErrors sums;
      for_each_valid(values, b.targets, n, [&](int64_t, int64_t, double error, double target) {
        sums.pixels += 1;
        sums.error += error;
        sums.absolute += std::abs(error);
        sums.squared += error * error;
        sums.target += target;
        sums.target_squared += target * target;
      });
      b.sums[n] = sums;
    });
  });
}

using Norm = RegressionLoss::Norm;

// The valid pixels of a batch, and the images that have one.
struct Counts {
  double pixels = 0, images = 0;
};

// An image's part of the loss before the factor.
double loss_of(Norm norm, const Counts& all, const ImageErrors& image) {
  if (norm == Norm::squared) return image.squared / all.pixels;
  if (norm == Norm::absolute) return image.absolute / all.pixels;
  return std::pow(image.error / image.pixels, 2) / all.images;
}
// Its derivative by the value of a pixel.
double gradient_of(Norm norm, const Counts& all, const ImageErrors& image, double error) {
  if (norm == Norm::squared) return 2 * error / all.pixels;
  if (norm == Norm::absolute) return ((error > 0 ? 1 : 0) - (error < 0 ? 1 : 0)) / all.pixels;
  return 2 * (image.error / image.pixels) / (all.images * image.pixels);
}

void regression_loss(const RegressionLoss& p, const RegressionLoss::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const std::span images(b.sums, static_cast<size_t>(p.values.n));
    Counts all;
    for (const ImageErrors& image : images) {
      all.pixels += image.pixels;
      all.images += image.pixels > 0 ? 1 : 0;
    }
    const Features<const T> values(b.values, p.values);
    const auto dvalues = cleared<Features<T>>(b.dvalues, p.values);
    double loss = 0;
    for (int64_t n = 0; n < p.values.n; ++n) {
      const ImageErrors& image = images[static_cast<size_t>(n)];
      if (image.pixels == 0) continue;
      loss += loss_of(p.norm, all, image);
      for_each_valid(values, b.targets, n, [&](int64_t h, int64_t w, double error, double) {
        dvalues(n, h, w, 0) = static_cast<T>(p.factor * gradient_of(p.norm, all, image, error));
      });
    }
    *static_cast<T*>(b.loss) = static_cast<T>(p.factor * loss);
  });
}

}  // namespace

void register_regression() {
  add<error_sums, ErrorSums>();
  add<regression_loss, RegressionLoss>();
}

}  // namespace unetd::ref
