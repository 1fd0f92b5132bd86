// What a page says of a network that predicts values: pictures of them, their scores, the targets.
#pragma once

#include "io/patch_store.h"
#include "tools/report/differences.h"

#include <span>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace unetd::report {

// The values that pictures show by the ends of their ramp: two and a half standard deviations to
// both sides of the mean, as far as there are targets. Errors are shown up to one deviation.
struct ValueRange {
  double low = 0, high = 1, error = 1;
};
ValueRange shown_range(const io::Target& target);

// Pictures u8 {1, h, w, 4} of square patches; no data where the target is NaN.
Tensor value_picture(std::span<const float> values, std::span<const float> targets,
                     const ValueRange& range);
Tensor error_picture(std::span<const float> values, std::span<const float> targets,
                     const ValueRange& range);

// Blue where values are too low, red where they are too high.
Painter error_painter(const ValueRange& range);

// Both ramps with the numbers at their ends.
std::string value_legend(const io::Target& target);

// `scores` is what tools/scores_json.h makes of values.
std::string value_scores_section(const std::string& title, const nlohmann::ordered_json& scores,
                                 const io::Target& target);

// Patches and pixels of each split, and how the targets of the train split are spread.
std::string target_section(const io::StoreSchema& schema);

}  // namespace unetd::report
