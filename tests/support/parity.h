// Start weights and batches of tests/fixtures/parity_*.safetensors, made again with the same bits
// as in tests/make_parity.py, whose class Parity describes both.
#pragma once

#include "engine/base/rng.h"
#include "engine/op/loss.h"
#include "engine/tensor/tensor.h"
#include "unet/params.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

namespace unetd {

// Every filter and bias of a convolution from a stream of its own; batch norm as it starts in
// PyTorch.
inline void set_parity_start(Params& params, uint64_t seed) {
  params.initialise(seed);  // for the constants of batch norm
  std::vector<ParamSpec> drawn;
  std::ranges::copy_if(params.specs(), std::back_inserter(drawn),
                       [](const ParamSpec& s) { return s.bound > 0; });
  std::ranges::sort(drawn, {}, &ParamSpec::name);
  for (size_t i = 0; i < drawn.size(); ++i) {
    Rng rng(seed, 1000 + i);
    Tensor start(drawn[i].shape, DType::f32);
    for (float& w : start.span<float>()) {
      w = (static_cast<float>(rng.next() >> 8) * 0x1p-23F - 1.0F) * drawn[i].bound;
    }
    params.write(drawn[i].name, start);
  }
}

struct ParityBatch {
  Tensor samples;  // u8 (n, size, size, 3); the network sees samples / 255
  Tensor labels;   // u8 (n, size, size, 1)
};

// A disc before a background, both with a slope and noise; the label is unknown along the rim.
inline void draw_parity_image(Rng rng, int size, uint8_t* samples, uint8_t* labels) {
  const auto below = [&rng](int n) {
    return static_cast<int>(uint64_t{rng.next() >> 8} * static_cast<uint64_t>(n) >> 24);
  };
  const int cy = below(size), cx = below(size), radius = 4 + below(size / 3);
  int outside[3], inside[3], slope[3];
  for (int c = 0; c < 3; ++c) {
    outside[c] = below(160);
    inside[c] = 60 + below(160);
    slope[c] = below(4);
  }
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      const int ring = (y - cy) * (y - cy) + (x - cx) * (x - cx) - radius * radius;
      const uint32_t noise = rng.next();
      for (int c = 0; c < 3; ++c) {
        const int level = ring <= 0 ? inside[c] : outside[c];
        const int speckle = static_cast<int>(noise >> (8 * c) & 31);
        *samples++ = static_cast<uint8_t>(std::min(255, level + slope[c] * (x + y) / 2 + speckle));
      }
      *labels++ = std::abs(ring) <= radius ? ignore_label : static_cast<uint8_t>(ring <= 0);
    }
  }
}

inline ParityBatch parity_batch(uint64_t seed, int64_t step, int64_t batch, int64_t size) {
  ParityBatch result{Tensor({batch, size, size, 3}, DType::u8),
                     Tensor({batch, size, size, 1}, DType::u8)};
  const int64_t pixels = size * size;
  for (int64_t b = 0; b < batch; ++b) {
    draw_parity_image(Rng(seed, static_cast<uint64_t>(step * batch + b)), static_cast<int>(size),
                      result.samples.span<uint8_t>().data() + b * pixels * 3,
                      result.labels.span<uint8_t>().data() + b * pixels);
  }
  return result;
}

}  // namespace unetd
