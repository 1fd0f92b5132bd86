#include "tools/run_log.h"

#include "engine/base/file.h"
#include "tools/report.h"
#include "tools/scores_json.h"

#include <iomanip>
#include <sstream>
#include <utility>

#include <nlohmann/json.hpp>

namespace unetd {

RunLog::RunLog(std::filesystem::path folder, std::vector<io::ClassInfo> classes)
    : folder_(std::move(folder)), classes_(std::move(classes)) {}

void RunLog::begin() {
  out_.open(file(), std::ios::trunc);
  append("");
}

void RunLog::resume(int64_t step) {
  std::string kept;
  if (std::filesystem::exists(file())) {
    std::istringstream lines(read_file(file()));
    for (std::string line; std::getline(lines, line);) {
      // The last line may be cut: the run was killed while writing it.
      const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (object.is_object() && object.value("step", int64_t{0}) <= step) kept += line + "\n";
    }
  }
  write_file(file(), kept);
  out_.open(file(), std::ios::app);
  append("");
}

void RunLog::append(const std::string& line) {
  out_ << line << std::flush;
  if (!out_) {
    throw UserError(str("cannot write ", file().string(), ": is the disk full? ",
                        "Make room and go on with --resume"));
  }
}

void RunLog::train(int64_t step, const StepResult& r) {
  append(nlohmann::ordered_json{{"step", step},
                                {"loss", r.loss},
                                {"learning_rate", r.learning_rate},
                                {"grad_norm", r.grad_norm}}
             .dump() +
         "\n");
}

void RunLog::valid(int64_t step, double loss, const Scores& scores, const Confusion& confusion) {
  append(nlohmann::ordered_json{
             {"step", step}, {"valid_loss", loss}, {"valid", to_json(scores, confusion, classes_)}}
             .dump() +
         "\n");
}

void RunLog::write_report(const Config& config, const UNetConfig& model,
                          const std::vector<Session::NodeReport>& nodes, double seconds) const {
  unetd::write_report(folder_ / "report.html", {.metrics = read_file(file()),
                                                .config = to_yaml(config),
                                                .classes = classes_,
                                                .model = model,
                                                .nodes = nodes,
                                                .seconds = seconds});
}

}  // namespace unetd
