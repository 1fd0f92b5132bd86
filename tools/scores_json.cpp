#include "tools/scores_json.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

// JSON knows no NaN.
nlohmann::ordered_json number(double x) {
  if (std::isnan(x)) return nullptr;
  return x;
}

nlohmann::ordered_json classes_json(const std::vector<ClassScores>& scores,
                                    const std::vector<io::ClassInfo>& classes) {
  auto out = nlohmann::ordered_json::array();
  for (size_t i = 0; i < classes.size(); ++i) {
    const ClassScores& c = scores.at(i);
    out.push_back({{"name", classes[i].name},
                   {"pixels", c.pixels},
                   {"accuracy", number(c.accuracy)},
                   {"iou", number(c.iou)},
                   {"dice", number(c.dice)},
                   {"precision", number(c.precision)},
                   {"recall", number(c.recall)}});
  }
  return out;
}

nlohmann::ordered_json calibration_json(const ProbabilityTally& tally) {
  auto bins = nlohmann::ordered_json::array();
  for (const ProbabilityTally::Bin& bin : tally.bins) {
    const auto pixels = static_cast<double>(bin.pixels);
    bins.push_back({{"confidence", number(bin.confidence / pixels)},
                    {"accuracy", number(static_cast<double>(bin.right) / pixels)},
                    {"pixels", bin.pixels}});
  }
  return {{"error", number(calibration_error(tally))}, {"bins", bins}};
}

nlohmann::ordered_json class_scores_json(const Tallies& tallies,
                                         const std::vector<io::ClassInfo>& classes) {
  const Confusion& confusion = tallies.confusion;
  const Scores s = scores(confusion);
  nlohmann::ordered_json out{
      {"accuracy", number(s.accuracy)},       {"mean_iou", number(s.mean_iou)},
      {"mean_dice", number(s.mean_dice)},     {"mean_precision", number(s.mean_precision)},
      {"mean_recall", number(s.mean_recall)}, {"classes", classes_json(s.classes, classes)}};
  for (int64_t t = 0; t < confusion.classes(); ++t) {
    auto row = nlohmann::ordered_json::array();
    for (int64_t p = 0; p < confusion.classes(); ++p) row.push_back(confusion.count(t, p));
    out["confusion"].push_back(row);
  }
  if (const auto& tally = tallies.probabilities) {
    out["at_threshold"] = {
        {"threshold", tally->threshold},
        {"classes", classes_json(scores_at_threshold(*tally, confusion), classes)}};
    out["calibration"] = calibration_json(*tally);
  }
  return out;
}

nlohmann::ordered_json value_scores_json(const ErrorTally::Scores& s, const std::string& target) {
  return {{"target", target},
          {"pixels", s.pixels},
          {"rmse", number(s.rmse)},
          {"mae", number(s.mae)},
          {"bias", number(s.bias)},
          {"r2", number(s.r2)},
          {"mass_error", number(s.mass_error)},
          {"target_mean", number(s.target_mean)},
          {"target_deviation", number(s.target_deviation)}};
}

std::string class_table(const Scores& s, const std::vector<io::ClassInfo>& classes) {
  size_t width = 5;
  for (const io::ClassInfo& c : classes) width = std::max(width, c.name.size());
  std::ostringstream out;
  out << std::fixed << std::setprecision(3);
  const auto row = [&](const std::string& name, std::initializer_list<double> values) {
    out << std::left << std::setw(static_cast<int>(width)) << name << std::right;
    for (const double v : values) {
      out << std::setw(11);
      std::isnan(v) ? out << "-" : out << v;
    }
  };
  out << std::string(width, ' ')
      << "        IoU       Dice  precision     recall   accuracy     pixels\n";
  for (size_t i = 0; i < classes.size(); ++i) {
    const ClassScores& c = s.classes[i];
    row(classes[i].name, {c.iou, c.dice, c.precision, c.recall, c.accuracy});
    out << std::setw(11) << c.pixels << '\n';
  }
  row("mean", {s.mean_iou, s.mean_dice, s.mean_precision, s.mean_recall, s.accuracy});
  out << '\n';
  return out.str();
}

// Values are in any unit: significant digits, not decimal places.
std::string value_table(const ErrorTally::Scores& s, const std::string& target) {
  const size_t width = std::max<size_t>(target.size(), 5);
  std::ostringstream out;
  out << std::string(width, ' ')
      << "       RMSE        MAE       bias         R2 mass error       mean  deviation     "
         "pixels\n"
      << std::left << std::setw(static_cast<int>(width)) << target << std::right
      << std::setprecision(4);
  for (const double v :
       {s.rmse, s.mae, s.bias, s.r2, s.mass_error, s.target_mean, s.target_deviation}) {
    out << std::setw(11);
    std::isnan(v) ? out << "-" : out << v;
  }
  out << std::setw(11) << s.pixels << '\n';
  return out.str();
}

}  // namespace

nlohmann::ordered_json to_json(const Counts& counts, const std::vector<io::ClassInfo>& classes) {
  if (const auto* errors = std::get_if<ErrorTally>(&counts))
    return value_scores_json(errors->scores(), classes.at(0).name);
  return class_scores_json(std::get<Tallies>(counts), classes);
}

std::string to_table(const Counts& counts, const std::vector<io::ClassInfo>& classes) {
  if (const auto* errors = std::get_if<ErrorTally>(&counts))
    return value_table(errors->scores(), classes.at(0).name);
  return class_table(scores(std::get<Tallies>(counts).confusion), classes);
}

std::pair<std::string, double> headline(const Counts& counts) {
  if (const auto* errors = std::get_if<ErrorTally>(&counts)) return {"RMSE", errors->scores().rmse};
  return {"mean IoU", scores(std::get<Tallies>(counts).confusion).mean_iou};
}

}  // namespace unetd
