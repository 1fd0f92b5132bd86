// What the outputs of a network say of each pixel: its class, and how often which class is taken
// for which.
//
// The class of a pixel is the channel with the largest value, the first of equals. A single channel
// tells class 1 from class 0 by exceeding `threshold`: 0 for logits, 0.5 for probabilities. NaN is
// larger than nothing, and nothing is larger than NaN in the first channel.
//
// values: (n, h, w, c), at most 255 channels. They lie as `kind` says: features, as a network
// leaves them, or dense, as blended tiles are summed (blend_tile.h).
#pragma once

#include "engine/op/registry.h"
#include "engine/tensor/layout.h"

namespace unetd {

inline constexpr int64_t most_classes = 255;
// Of a pixel with a value that is not a number: a map must not pass it off as a class.
inline constexpr uint8_t no_class = 255;

// classes: dense u8 (n, h, w, 1).
struct Classify {
  static constexpr const char* name = "classify";
  Shape values;
  Kind kind = Kind::features;
  float threshold = 0;
  DType dtype = DType::f32;

  bool operator==(const Classify&) const = default;
  struct Buffers {
    const void* values;
    uint8_t* classes;
  };
  Buffers bind(In in, Out out) const { return {in[0], static_cast<uint8_t*>(out[0])}; }
};

// counts[label][class] += 1 for every pixel whose label is a class, in place: dense i64
// (1, 1, k, k) with k classes, two for a single channel. Sums of integers are the same in any
// order. labels: dense u8 (n, h, w, 1); 255 and others of at least k are left out.
struct ConfusionMatrix {
  static constexpr const char* name = "confusion_matrix";
  Shape values;
  Kind kind = Kind::features;
  float threshold = 0;
  DType dtype = DType::f32;

  bool operator==(const ConfusionMatrix&) const = default;
  constexpr int64_t classes() const { return values.c == 1 ? 2 : values.c; }
  struct Buffers {
    const void* values;
    const uint8_t* labels;
    int64_t* counts;
  };
  Buffers bind(In in, Out out) const {
    return {in[0], static_cast<const uint8_t*>(in[1]), static_cast<int64_t*>(out[0])};
  }
};

}  // namespace unetd
