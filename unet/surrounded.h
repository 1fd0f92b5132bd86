// What networks without padding, which predict the middle of what they read, are given in the place
// of images and labels. For others both stay as they are, and nothing is copied.
#pragma once

#include "unet/input.h"
#include "unet/unet_config.h"

namespace unetd {

// Whole images, mirrored at their borders as far as the network reads: it predicts all of their
// pixels, and some beyond the lower and right border.
class Surrounded {
 public:
  // What `images` names must outlive it. Of draws there may be none but those that change nothing.
  Surrounded(const Images& images, const UNetConfig& c);
  Surrounded(const Surrounded&) = delete;
  Surrounded& operator=(const Surrounded&) = delete;

  const Images& images() const { return images_; }
  // Labels (n, h, w, 1) of the images, u8 classes or f32 targets, as large as what is read, ignored
  // around them.
  const Tensor& labels(const Tensor& labels);
  // The images' part of outputs (n, h, w, c).
  Tensor part(Tensor outputs) const;

 private:
  Shape shape_;
  bool mirrored_;
  int64_t margin_;
  Tensor samples_, valid_, labels_;
  Images images_;
};

// Labels, u8 classes or f32 targets, of images of which the network predicts the middle only,
// ignored around that. The rim is even, so that images may be turned afterwards.
class PredictedLabels {
 public:
  PredictedLabels(const Tensor& labels, const UNetConfig& c);
  PredictedLabels(const PredictedLabels&) = delete;
  PredictedLabels& operator=(const PredictedLabels&) = delete;

  const Tensor& labels() const { return masked_.empty() ? *labels_ : masked_; }

 private:
  const Tensor* labels_;
  Tensor masked_;
};

}  // namespace unetd
