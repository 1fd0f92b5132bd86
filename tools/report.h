// report.html of a training run: one self-contained page, curves as inline SVG.
#pragma once

#include "engine/autograd/session.h"
#include "io/labels.h"
#include "unet/model.h"

#include <filesystem>
#include <string>
#include <vector>

namespace unetd {

struct ReportData {
  std::string metrics;  // the text of metrics.jsonl
  std::string config;   // YAML
  std::vector<io::ClassInfo> classes;
  UNetConfig model;
  std::vector<Session::NodeReport> nodes;  // of the training step; times only where profiled
  double seconds = 0;                      // of training
};

// Training and validation loss, mean and per-class IoU over steps, learning rate, the best scores,
// the confusion matrix at its best step, the configuration. Throws UserError naming the file.
void write_report(const std::filesystem::path& file, const ReportData& data);

}  // namespace unetd
