#include "tools/report/report.h"

#include "engine/base/file.h"
#include "tools/report/history.h"
#include "tools/report/html.h"

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

}  // namespace

void write_report(const std::filesystem::path& file, const TrainingReport& r) {
  const History history(r.metrics, r.data.classes, r.judge);
  const ordered_json& best = history.best();
  Facts head;
  std::string scores;
  if (!best.is_null()) {
    // What the judge went by stands first, and is called the best; the rest is of the same step.
    const ordered_json& valid = best["valid"];
    const std::pair<std::string, std::string> iou{"mean IoU", digits(valid["mean_iou"])},
        loss{"validation loss",
             best["valid_loss"].is_number() ? fixed(best["valid_loss"], 4) : "-"};
    const bool by_loss = r.judge == Config::Judge::loss;
    head = {by_loss ? loss : iou, by_loss ? iou : loss};
    head[0].first = "best " + head[0].first;
    head.insert(head.end(), {{"accuracy there", digits(valid["accuracy"])},
                             {"best step", grouped(best["step"])}});
    scores =
        scores_section("Best validation, step " + grouped(best["step"]), valid, r.data.classes) +
        confusion_section(valid, r.data.classes) + calibration_section(valid);
  }
  head.insert(head.end(), {{"parameters", grouped(r.memory.parameters)},
                           {"patches", grouped(std::ssize(r.data.patches))},
                           {"training", fixed(r.seconds / 60, 1) + " min"}});
  const std::string title = "unetd: " + file.parent_path().filename().string();
  write_file(file, page(title, "<p class=\"dim\">" + network(r.model) + "</p>\n" + facts(head) +
                                   history.curves_section() + scores +
                                   samples_section(r.samples_title, r.samples, r.data.classes) +
                                   classes_section(r.data) +
                                   timings_section(r.stages, r.nodes, r.profiled_steps) +
                                   memory_section(r.memory) + configuration_section(r.config)));
}

void write_report(const std::filesystem::path& file, const EvaluationReport& r) {
  const Facts head{{"mean IoU", digits(r.scores["mean_iou"])},
                   {"mean Dice", digits(r.scores["mean_dice"])},
                   {"accuracy", digits(r.scores["accuracy"])}};
  write_file(file, page("unetd: " + r.model,
                        "<p class=\"dim\">" + escaped(r.data) + "</p>\n" + facts(head) +
                            scores_section("Scores", r.scores, r.classes) +
                            confusion_section(r.scores, r.classes) + calibration_section(r.scores) +
                            differences_section(r.differences) +
                            samples_section("Sample patches", r.samples, r.classes) +
                            (r.store == nullptr ? "" : classes_section(*r.store)) +
                            configuration_section(r.config)));
}

}  // namespace unetd::report
