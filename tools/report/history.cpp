#include "tools/report/history.h"

#include "tools/report/html.h"
#include "unet/schedule.h"

#include <algorithm>
#include <sstream>

#include <nlohmann/json.hpp>

namespace unetd::report {

using nlohmann::ordered_json;

namespace {

constexpr const char *blue = "#5b8def", *red = "#c23b4b";

}  // namespace

History::History(const std::string& metrics, const std::vector<io::ClassInfo>& classes,
                 Config::Judge judge)
    : judge_(judge),
      iou_{{"mean", "currentColor", {}}},
      errors_{{"RMSE", red, {}}, {"MAE", blue, {}}},
      best_(std::make_unique<ordered_json>()) {
  for (const io::ClassInfo& c : classes) iou_.push_back({c.name, c.color, {}});
  std::istringstream lines(metrics);
  for (std::string text; std::getline(lines, text);) {
    const ordered_json line = ordered_json::parse(text);
    const double step = line["step"];
    last_step_ = std::max(last_step_, step);
    if (line.contains("valid")) {
      add_validation(step, line);
      continue;
    }
    if (line.contains("skipped")) continue;
    loss_.emplace_back(step, line["loss"]);
    learning_rate_.emplace_back(step, line["learning_rate"]);
    grad_norm_.emplace_back(step, line["grad_norm"]);
  }
}

History::~History() = default;

void History::add_validation(double step, const ordered_json& line) {
  const ordered_json& valid = line["valid"];
  // A loss is null where it is not finite, a score where it is not defined.
  if (line["valid_loss"].is_number()) valid_loss_.emplace_back(step, line["valid_loss"]);
  const auto add = [&](Curve& curve, const ordered_json& value) {
    if (value.is_number()) curve.points.emplace_back(step, value);
  };
  if (valid.contains("rmse")) {
    add(errors_[0], valid["rmse"]);
    add(errors_[1], valid["mae"]);
  } else {
    add(iou_[0], valid["mean_iou"]);
    for (size_t c = 1; c < iou_.size(); ++c) add(iou_[c], valid["classes"][c - 1]["iou"]);
  }
  if (beats_best(line)) *best_ = line;
}

bool History::beats_best(const ordered_json& line) const {
  const auto score = [&](const ordered_json& of) {
    return judge_ == Config::Judge::loss ? of["valid_loss"] : of["valid"]["mean_iou"];
  };
  if (!score(line).is_number()) return false;
  return best_->is_null() || better(judge_, score(line), score(*best_));
}

std::string History::curves_section() const {
  const std::vector<Curve> losses{{"training", blue, loss_}, {"validation", red, valid_loss_}};
  const std::string charts =
      line_chart("Loss", losses, last_step_) +
      line_chart("Loss, logarithmic", losses, last_step_, /*logarithmic=*/true) +
      line_chart("IoU of the validation", iou_, last_step_) +
      line_chart("Errors of the validation", errors_, last_step_) +
      line_chart("Norm of the gradient", {{"before clipping", blue, grad_norm_}}, last_step_,
                 /*logarithmic=*/true) +
      line_chart("Learning rate", {{"learning rate", blue, learning_rate_}}, last_step_);
  return charts.empty()
             ? ""
             : section("Curves over steps", "<div class=\"charts\">" + charts + "</div>");
}

}  // namespace unetd::report
