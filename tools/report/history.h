// What metrics.jsonl tells about a run: its curves and its best validation.
#pragma once

#include "io/labels.h"
#include "tools/report/chart.h"
#include "unet/config.h"

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace unetd::report {

class History {
 public:
  // `metrics` is the text of metrics.jsonl.
  History(const std::string& metrics, const std::vector<io::ClassInfo>& classes,
          Config::Judge judge);
  ~History();

  // The line of the best validation, as the judge says, or null.
  const nlohmann::ordered_json& best() const { return *best_; }
  // Charts of loss (on both scales), IoU or errors, learning rate, gradient norm.
  std::string curves_section() const;

 private:
  void add_validation(double step, const nlohmann::ordered_json& line);
  bool beats_best(const nlohmann::ordered_json& line) const;

  Config::Judge judge_;
  double last_step_ = 0;
  Points loss_, learning_rate_, grad_norm_, valid_loss_;
  std::vector<Curve> iou_;     // the mean, then each class
  std::vector<Curve> errors_;  // of values: RMSE and MAE
  std::unique_ptr<nlohmann::ordered_json> best_;
};

}  // namespace unetd::report
