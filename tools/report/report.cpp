#include "tools/report/report.h"

#include "engine/base/file.h"
#include "tools/report/history.h"
#include "tools/report/html.h"
#include "tools/report/values.h"

#include <nlohmann/json.hpp>

namespace unetd::report {
namespace {

using nlohmann::ordered_json;

std::string network(const UNetConfig& model) {
  return str("UNet of width ", model.width, " and depth ", model.depth, ", ", model.in_channels,
             " bands, ", model.classes, model.classes == 1 ? " output" : " outputs");
}

// A share, or "-" where it is not defined.
std::string digits(const ordered_json& score) { return score.is_number() ? fixed(score, 3) : "-"; }
// Any number.
std::string figures(const ordered_json& x) { return x.is_number() ? significant(x) : "-"; }

// The scores that stand in a page's head.
Facts leading_scores(const ordered_json& scores, const io::Target* target) {
  if (target == nullptr)
    return {{"mean IoU", digits(scores["mean_iou"])},
            {"mean Dice", digits(scores["mean_dice"])},
            {"accuracy", digits(scores["accuracy"])}};
  const std::string unit = target->unit.empty() ? "" : " " + target->unit;
  return {{"RMSE", figures(scores["rmse"]) + unit},
          {"MAE", figures(scores["mae"]) + unit},
          {"R2", digits(scores["r2"])}};
}

// What the judge went by stands first, and is called the best; the rest is of the same step.
Facts best_scores(const ordered_json& best, Config::Judge judge, const io::Target* target) {
  Facts facts = leading_scores(best["valid"], target);
  const std::pair<std::string, std::string> loss{
      "validation loss", best["valid_loss"].is_number() ? fixed(best["valid_loss"], 4) : "-"};
  facts.insert(facts.begin() + (judge == Config::Judge::loss ? 0 : 1), loss);
  facts.front().first = "best " + facts.front().first;
  facts.emplace_back("best step", grouped(best["step"]));
  return facts;
}

std::string score_sections(const std::string& title, const ordered_json& scores,
                           const std::vector<io::ClassInfo>& classes, const io::Target* target) {
  if (target != nullptr) return value_scores_section(title, scores, *target);
  return scores_section(title, scores, classes) + confusion_section(scores, classes) +
         calibration_section(scores);
}

std::string data_section(const io::StoreSchema& schema) {
  return schema.target ? target_section(schema) : classes_section(schema);
}

std::string legend(const std::vector<io::ClassInfo>& classes, const io::Target* target) {
  return target == nullptr ? class_legend(classes) : value_legend(*target);
}

}  // namespace

void write_report(const std::filesystem::path& file, const TrainingReport& r) {
  const History history(r.metrics, r.data.classes, r.judge);
  const ordered_json& best = history.best();
  Facts head;
  std::string scores;
  const io::Target* const target = r.data.target ? &*r.data.target : nullptr;
  if (!best.is_null()) {
    head = best_scores(best, r.judge, target);
    scores = score_sections("Best validation, step " + grouped(best["step"]), best["valid"],
                            r.data.classes, target);
  }
  head.insert(head.end(), {{"parameters", grouped(r.memory.parameters)},
                           {"patches", grouped(std::ssize(r.data.patches))},
                           {"training", fixed(r.seconds / 60, 1) + " min"}});
  const std::string title = "unetd: " + file.parent_path().filename().string();
  write_file(
      file,
      page(title, "<p class=\"dim\">" + network(r.model) + "</p>\n" + facts(head) +
                      history.curves_section() + scores +
                      samples_section(r.samples_title, r.samples, legend(r.data.classes, target)) +
                      data_section(r.data) + timings_section(r.stages, r.nodes, r.profiled_steps) +
                      memory_section(r.memory) + configuration_section(r.config)));
}

void write_report(const std::filesystem::path& file, const EvaluationReport& r) {
  write_file(file,
             page("unetd: " + r.model,
                  "<p class=\"dim\">" + escaped(r.data) + "</p>\n" +
                      facts(leading_scores(r.scores, r.target)) +
                      score_sections("Scores", r.scores, r.classes, r.target) +
                      differences_section(r.differences, r.target) +
                      samples_section("Sample patches", r.samples, legend(r.classes, r.target)) +
                      (r.store == nullptr ? "" : data_section(*r.store)) +
                      configuration_section(r.config)));
}

}  // namespace unetd::report
