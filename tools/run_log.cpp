#include "tools/run_log.h"

#include "engine/base/file.h"

#include <sstream>
#include <utility>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

// The numbers of an object but the step, under their paths; a class goes by its name.
void collect(const nlohmann::ordered_json& object, const std::string& path, Scalars& scalars) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_number() && key != "step") {
      scalars.emplace_back(path + key, value);
    } else if (value.is_object()) {
      collect(value, path + key + "/", scalars);
    } else if (key == "classes") {
      for (const auto& c : value) collect(c, path + c["name"].get<std::string>() + "/", scalars);
    }
  }
}

}  // namespace

RunLog::RunLog(std::filesystem::path folder, std::vector<io::ClassInfo> classes)
    : folder_(std::move(folder)), classes_(std::move(classes)) {}

void RunLog::begin() {
  out_.open(file(), std::ios::trunc);
  write("");
  events_ = EventFile::first(folder_);
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
  write("");
  events_ = EventFile::resumed(folder_, step);
}

void RunLog::append(const nlohmann::ordered_json& line) {
  write(line.dump() + "\n");
  Scalars scalars;
  collect(line, "", scalars);
  events_->add(line["step"], scalars);
}

void RunLog::write(const std::string& text) {
  out_ << text << std::flush;
  if (!out_) {
    throw UserError(str("cannot write ", file().string(), ": is the disk full? ",
                        "Make room and go on with --resume"));
  }
}

void RunLog::train(int64_t step, const StepResult& r) {
  if (r.skipped) return append({{"step", step}, {"skipped", true}});  // JSON knows no NaN
  append({{"step", step},
          {"loss", r.loss},
          {"learning_rate", r.learning_rate},
          {"grad_norm", r.grad_norm}});
}

void RunLog::valid(int64_t step, const Losses& losses, const Counts& counts) {
  nlohmann::ordered_json line{{"step", step}};
  if (losses.train) line["train_loss"] = *losses.train;
  line["valid_loss"] = losses.valid;
  line["valid"] = to_json(counts, classes_);
  append(line);
}

std::string RunLog::text() const { return read_file(file()); }

}  // namespace unetd
