// The record of a training run: metrics.jsonl, one JSON object a line, written as training goes,
// and report.html at its end.
#pragma once

#include "engine/autograd/session.h"
#include "io/labels.h"
#include "unet/metrics.h"
#include "unet/trainer.h"

#include <filesystem>
#include <fstream>
#include <vector>

namespace unetd {

class RunLog {
 public:
  RunLog(std::filesystem::path folder, std::vector<io::ClassInfo> classes);

  // Starts an empty metrics.jsonl, or, going on after `step`, drops the lines of later steps: those
  // are about to happen again.
  void begin();
  void resume(int64_t step);

  void train(int64_t step, const StepResult& result);
  // `loss`: mean over the valid pixels of the split.
  void valid(int64_t step, double loss, const Scores& scores, const Confusion& confusion);

  // report.html, self-contained, from metrics.jsonl and what is given.
  void write_report(const Config& config, const UNetConfig& model,
                    const std::vector<Session::NodeReport>& nodes, double seconds) const;

 private:
  std::filesystem::path file() const { return folder_ / "metrics.jsonl"; }
  void append(const std::string& line);

  std::filesystem::path folder_;
  std::vector<io::ClassInfo> classes_;
  std::ofstream out_;
};

}  // namespace unetd
