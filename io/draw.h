// Random training patches of a scene, anywhere or balanced by class.
#pragma once

#include "io/sampling.h"

#include <cstdint>
#include <vector>

namespace unetd::io {

// Random streams of their own for each use of one seed.
enum class RandomUse : uint32_t { dealing = 1, drawing = 2 };
inline uint64_t random_stream(RandomUse use, int64_t scene) {
  return static_cast<uint64_t>(use) << 48 | static_cast<uint64_t>(scene);
}

// options.samples windows of the training split, or fewer, with a warning, where chance finds no
// more or the scene has no pixel of the classes asked for. Throws UsageError for negative shares.
std::vector<PlannedPatch> draw_training(const Tensor& labels, const SplitMap& map,
                                        const SamplingOptions& options, int64_t scene);

}  // namespace unetd::io
