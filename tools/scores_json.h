// Scores and confusion matrix in the form that metrics.jsonl, unetd-eval and the report share.
#pragma once

#include "io/labels.h"
#include "unet/metrics.h"

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace unetd {

// {"accuracy", "mean_iou", ..., "classes": [{"name", "iou", ...}], "confusion": [[...]]}; a score
// that is not defined (the class occurs nowhere) is null. Where probabilities were seen, too, also
// {"at_threshold": {"threshold", "classes": [...]},
//  "calibration": {"error", "bins": [{"confidence", "accuracy", "pixels"}]}} with means of each
//  bin.
nlohmann::ordered_json to_json(const Tallies& tallies, const std::vector<io::ClassInfo>& classes);

// A table for people: one row a class, then the means.
std::string to_table(const Scores& scores, const std::vector<io::ClassInfo>& classes);

}  // namespace unetd
