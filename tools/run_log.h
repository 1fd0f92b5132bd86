// The record of a training run, written as training goes: metrics.jsonl, one JSON object a line,
// and the same scalars for TensorBoard in events.out.tfevents.*, under their paths in these
// objects: "loss", "valid/mean_iou", "valid/water/iou".
#pragma once

#include "io/labels.h"
#include "tools/event_file.h"
#include "tools/scores_json.h"
#include "unet/trainer.h"

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace unetd {

class RunLog {
 public:
  RunLog(std::filesystem::path folder, std::vector<io::ClassInfo> classes);

  // Starts an empty metrics.jsonl, or, going on after `step`, drops the lines of later steps: those
  // are about to happen again.
  void begin();
  void resume(int64_t step);

  void train(int64_t step, const StepResult& result);
  // Means: of the training steps since the last evaluation, where there were any, and over the
  // valid pixels of the split.
  struct Losses {
    std::optional<double> train;
    double valid = 0;
  };
  void valid(int64_t step, const Losses& losses, const Counts& counts);

  // The text of metrics.jsonl.
  std::string text() const;

 private:
  std::filesystem::path file() const { return folder_ / "metrics.jsonl"; }
  void append(const nlohmann::ordered_json& line);
  void write(const std::string& text);

  std::filesystem::path folder_;
  std::vector<io::ClassInfo> classes_;
  std::ofstream out_;
  std::optional<EventFile> events_;
};

}  // namespace unetd
