// Scores in the forms that metrics.jsonl, unetd-eval, the log and the report share.
#pragma once

#include "io/labels.h"
#include "unet/metrics.h"
#include "unet/targets.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace unetd {

// What was counted of a network's outputs: classes, or values.
using Counts = std::variant<Tallies, ErrorTally>;

// Of classes: {"accuracy", "mean_iou", ..., "classes": [{"name", "iou", ...}], "confusion":
// [[...]]}; a score that is not defined (the class occurs nowhere) is null. Where probabilities
// were seen, too, also {"at_threshold": {"threshold", "classes": [...]}, "calibration": {"error",
// "bins": [{"confidence", "accuracy", "pixels"}]}} with means of each bin.
// Of values: {"target", "pixels", "rmse", "mae", "bias", "r2", "mass_error", "target_mean",
// "target_deviation"}, as ErrorTally::Scores; `classes` then has the target's name.
nlohmann::ordered_json to_json(const Counts& counts, const std::vector<io::ClassInfo>& classes);

// A table for people: of classes one row each, then the means; of values one row.
std::string to_table(const Counts& counts, const std::vector<io::ClassInfo>& classes);

// The score that is looked at first, with its name: the mean IoU, or the RMSE.
std::pair<std::string, double> headline(const Counts& counts);

}  // namespace unetd
