// Segmentation losses fused with their gradients: one operation gives both. They are computed from
// logits, so no value of them overflows.
//
// labels: dense u8 (n, h, w, 1), a class index per pixel; 255 means "ignore": no loss, no gradient.
// Other values of at least the number of classes are the caller's error and are ignored as well.
// loss: one f32 (f64 in f64 problems), 0 when no pixel is valid. dlogits: as the logits.
// factor: multiplies loss and dlogits, for weighted sums of losses.
// smoothing: of cross entropy (Szegedy et al., 2016), see there; not together with gamma.
// gamma: of cross entropy and BCE; above 0 it makes focal losses of them (Lin et al., 2017), which
// pay less heed to what is right already: with the probability q given to what is wrong, -log(1 -
// q) is multiplied by q^gamma, and its gradient by q^gamma (1 + gamma (1 - q) * -log(1 - q) / q).
#pragma once

#include "engine/op/registry.h"

namespace unetd {

inline constexpr uint8_t ignore_label = 255;

// loss = sum over valid pixels of w[label] * -log softmax(logits)[label] / sum of w[label]
// (weights: (1,1,1,c) f32 or absent for 1), as PyTorch's weighted mean. With smoothing e, the
// target of class k is (1 - e) at the label and e / c everywhere, as PyTorch's label_smoothing:
// loss = sum of (1 - e) * w[label] * -log p[label] + e / c * sum over k of w[k] * -log p[k], over
// the same sum of w[label].
struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  Shape logits;
  bool weighted = false;
  float factor = 1, gamma = 0, smoothing = 0;
  DType dtype = DType::f32;

  bool operator==(const CrossEntropy&) const = default;
  struct Buffers {
    const void* logits;
    const uint8_t* labels;
    const void* weights;
    void *loss, *dlogits;
    const void* class_weights() const { return weights; }
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const uint8_t*>(in[1]), weighted ? in[2] : nullptr, out[0], out[1]};
  }
};

// Independent sigmoids. Target of channel c: label == c; with a single channel the label itself
// (0 or 1). With z = logit and p = pos_weight[c] (absent: 1)
//   loss = mean over valid pixels and channels of  (1-t) z + (1 + (p-1) t) * log(1 + exp(-z))
struct BceWithLogits {
  static constexpr const char* name = "bce_with_logits";
  Shape logits;
  bool weighted = false;  // pos_weight given
  float factor = 1, gamma = 0;
  DType dtype = DType::f32;

  bool operator==(const BceWithLogits&) const = default;
  struct Buffers {
    const void* logits;
    const uint8_t* labels;
    const void* pos_weight;
    void *loss, *dlogits;
    const void* class_weights() const { return pos_weight; }
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const uint8_t*>(in[1]), weighted ? in[2] : nullptr, out[0], out[1]};
  }
};

// What makes probabilities of logits: over the channels of a pixel, or of each channel alone.
enum class Activation : uint8_t { softmax, sigmoid };

// Tversky loss (Salehi et al., 2017): one less the overlap of prediction and labels. With the soft
// counts of a class over the valid pixels of the whole batch, for probability p and target t,
//   tp = sum p t,   fp = sum p (1 - t),   fn = sum (1 - p) t
//   index = (tp + smooth) / (tp + alpha fp + beta fn + smooth)
//   loss = sum of w[c] * (1 - index) / sum of w[c]      (weights: (1,1,1,c) f32, or absent for 1)
// Both sums over c take the classes that have a valid pixel: one without has no overlap to speak
// of. alpha = beta = 1/2 gives the soft Dice loss without squares (Drozdzal et al., 2016; Milletari
// et al., 2016, square p and t in the denominator), in which smooth counts twice: 2 tp + 2 smooth
// over sum p + sum t + 2 smooth. Targets are those of the other losses: label == c, and of a lone
// sigmoid the label itself. alpha, beta, smooth: at least 0, and beta + smooth above 0.
struct TverskyLoss {
  static constexpr const char* name = "tversky_loss";
  Shape logits;
  bool weighted = false;
  float factor = 1;
  Activation activation = Activation::softmax;
  float alpha = 0.5F, beta = 0.5F, smooth = 1;
  DType dtype = DType::f32;

  // Channel c is for label c + first_label(): background has none where a single sigmoid tells two
  // classes apart. Labels from logits.c + first_label() on are ignored.
  int64_t first_label() const { return activation == Activation::sigmoid && logits.c == 1 ? 1 : 0; }

  bool operator==(const TverskyLoss&) const = default;
  struct Buffers {
    const void* logits;
    const uint8_t* labels;
    const void* weights;
    void *loss, *dlogits;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const uint8_t*>(in[1]), weighted ? in[2] : nullptr, out[0], out[1]};
  }
};

}  // namespace unetd
