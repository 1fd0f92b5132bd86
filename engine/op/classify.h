// What the outputs of a network say of each pixel: its class, how often which class is taken for
// which, and how far their probabilities are to be believed.
//
// The class of a pixel is the channel with the largest value, the first of equals. A single channel
// tells class 1 from class 0 by exceeding `threshold`: 0 for logits, 0.5 for probabilities. NaN is
// larger than nothing, and nothing is larger than NaN in the first channel.
//
// values: (n, h, w, c), at most 255 channels. They lie as `kind` says: features, as a network
// leaves them, or dense, as blended tiles are summed (blend_tile.h).
#pragma once

#include "engine/base/host_device.h"
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

// What probabilities claim and what is true, in place: dense i64 (1, 1, 1, 2 k + 3 bins) for k
// classes, two for a single channel, whose value is class 1's probability and whose rest is class
// 0's. Over every pixel whose label is a class and whose values are all numbers:
//   [0, k)       class c is claimed: its probability exceeds `threshold`
//   [k, 2 k)     and is true
//   [2 k, ...)   for each bin of confidence, the largest probability, three numbers: pixels, those
//                whose most probable class (the first of equals) is true, and the sum of their
//                confidences in units of 2^-24, which is whole and so the same in any order
// Bins are equally wide (Guo et al., 2017). values lie in [0, 1].
struct ProbabilityCounts {
  static constexpr const char* name = "probability_counts";
  static constexpr int bins = 15, fields = 3;
  static constexpr float unit = 0x1p24F;
  Shape values;
  Kind kind = Kind::features;
  float threshold = 0.5F;
  DType dtype = DType::f32;

  bool operator==(const ProbabilityCounts&) const = default;
  constexpr int64_t classes() const { return values.c == 1 ? 2 : values.c; }
  constexpr int64_t count() const { return 2 * classes() + int64_t{fields} * bins; }
  // In f32 on every device: what lies on the edge of a bin is in the same one everywhere.
  UNETD_HOST_DEVICE static int bin_of(float confidence) {
    const int bin = static_cast<int>(confidence * static_cast<float>(bins));
    return bin < bins ? bin : bins - 1;
  }
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
