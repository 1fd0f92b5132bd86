// The report pages: report.html of a training run, and what unetd-eval says of a model. One
// self-contained file each, readable without a network and on a phone.
#pragma once

#include "tools/report/differences.h"
#include "tools/report/sections.h"
#include "unet/model.h"

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace unetd::report {

struct TrainingReport {
  std::string metrics;                            // the text of metrics.jsonl
  std::string config;                             // YAML
  Config::Judge judge = Config::Judge::mean_iou;  // of the best validation
  const io::StoreSchema& data;
  UNetConfig model;
  std::vector<Session::NodeReport> nodes;  // of the training step
  int64_t profiled_steps = 0;
  StageTimes stages;
  MemoryUse memory;
  double seconds = 0;         // of training, before a resumption, too
  std::string samples_title;  // which split, which network
  std::vector<Sample> samples;
};
// Throws UserError naming the file.
void write_report(const std::filesystem::path& file, const TrainingReport& report);

struct EvaluationReport {
  std::string model, data;               // as they were given; data: "test split of store"
  const nlohmann::ordered_json& scores;  // of tools/scores_json.h
  std::string config;                    // YAML
  const std::vector<io::ClassInfo>& classes;
  const io::Target* target = nullptr;      // where values are predicted
  const io::StoreSchema* store = nullptr;  // where the data is one
  std::vector<SceneDifference> differences;
  std::vector<Sample> samples;
};
void write_report(const std::filesystem::path& file, const EvaluationReport& report);

}  // namespace unetd::report
