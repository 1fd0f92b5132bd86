// Segmentation losses fused with their gradients: one pass over the logits gives both. They are
// computed from logits, so no value of them overflows.
//
// labels: dense u8 (n, h, w, 1), a class index per pixel; 255 means "ignore": no loss, no gradient.
// Other values of at least the number of classes are the caller's error and are ignored as well.
// loss: one f32 (f64 in f64 problems), 0 when no pixel is valid. dlogits: as the logits.
#pragma once

#include "engine/op/registry.h"

namespace unetd {

inline constexpr uint8_t ignore_label = 255;

// loss = sum over valid pixels of w[label] * -log softmax(logits)[label] / sum of w[label]
// (weights: (1,1,1,c) f32 or absent for 1), as PyTorch's weighted mean.
struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  Shape logits;
  bool weighted = false;
  DType dtype = DType::f32;

  bool operator==(const CrossEntropy&) const = default;
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

// Independent sigmoids. Target of channel c: label == c; with a single channel the label itself
// (0 or 1). With z = logit and p = pos_weight[c] (absent: 1)
//   loss = mean over valid pixels and channels of  (1-t) z + (1 + (p-1) t) * log(1 + exp(-z))
struct BceWithLogits {
  static constexpr const char* name = "bce_with_logits";
  Shape logits;
  bool weighted = false;  // pos_weight given
  DType dtype = DType::f32;

  bool operator==(const BceWithLogits&) const = default;
  struct Buffers {
    const void* logits;
    const uint8_t* labels;
    const void* pos_weight;
    void *loss, *dlogits;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const uint8_t*>(in[1]), weighted ? in[2] : nullptr, out[0], out[1]};
  }
};

}  // namespace unetd
