// Random training patches of a scene, anywhere or balanced by class.
#pragma once

#include "io/sampling.h"

#include <cstdint>
#include <span>
#include <vector>

namespace unetd::io {

// Random streams of their own for each use of one seed.
enum class RandomUse : uint32_t {
  dealing = 1,
  drawing = 2,
  limiting_scenes = 3,
  limiting_dates = 4
};
inline uint64_t random_stream(RandomUse use, int64_t scene) {
  return static_cast<uint64_t>(use) << 48 | static_cast<uint64_t>(scene);
}

// Numbers 0..n-1 in an order that depends on seed and stream alone.
std::vector<int64_t> shuffled(int64_t n, uint64_t seed, uint64_t stream);

// Keeps `most` of the training patches of all these lists together, each with the same chance, in
// their order; other patches stay. 0: all.
void limit_training(std::span<std::vector<PlannedPatch>* const> lists, int64_t most, uint64_t seed,
                    uint64_t stream);

// options.samples windows of the training split, or fewer, with a warning, where chance finds no
// more or the scene has no pixel of the classes asked for. Throws UsageError for negative shares.
std::vector<PlannedPatch> draw_training(const Tensor& labels, const SplitMap& map,
                                        const SamplingOptions& options, int64_t scene);

}  // namespace unetd::io
