// The sections of a report page, each as HTML. What there is nothing to say about is an empty text.
#pragma once

#include "engine/autograd/session.h"
#include "io/patch_store.h"
#include "tools/report/samples.h"

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace unetd::report {

// A figure of the page's head: {"best mean IoU", "0.812"}.
using Facts = std::vector<std::pair<std::string, std::string>>;
std::string facts(const Facts& facts);

// Scores per class and confusion matrix, of classes (for values see values.h); `scores` is what
// tools/scores_json.h makes. Rows of the matrix are the truth; a cell shows its share of the row
// and is shaded by it.
std::string scores_section(const std::string& title, const nlohmann::ordered_json& scores,
                           const std::vector<io::ClassInfo>& classes);
std::string confusion_section(const nlohmann::ordered_json& scores,
                              const std::vector<io::ClassInfo>& classes);

// The reliability curve with its expected error, where `scores` has one: accuracy over confidence.
std::string calibration_section(const nlohmann::ordered_json& scores);

// Patches and labelled pixels of each class, per split.
std::string classes_section(const io::StoreSchema& schema);

// The colours of the classes.
std::string class_legend(const std::vector<io::ClassInfo>& classes);
std::string samples_section(const std::string& title, const std::vector<Sample>& samples,
                            const std::string& legend);

// Wall time by what it went into, in seconds.
struct StageTimes {
  double waiting = 0;  // for the loader
  double steps = 0;    // training
  double validation = 0;
  double checkpoints = 0;  // writing them
};
// `nodes` are those of a training step, with the times of `profiled` steps together.
std::string timings_section(const StageTimes& stages, const std::vector<Session::NodeReport>& nodes,
                            int64_t profiled);

struct MemoryUse {
  MemoryReport session;
  int64_t parameters = 0;   // numbers that are trained
  size_t process_peak = 0;  // bytes
};
std::string memory_section(const MemoryUse& memory);
// The largest resident size that this process has had, in bytes.
size_t process_peak();

std::string configuration_section(const std::string& yaml);

}  // namespace unetd::report
