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

}  // namespace

nlohmann::ordered_json to_json(const Scores& s, const Confusion& confusion,
                               const std::vector<io::ClassInfo>& classes) {
  nlohmann::ordered_json out{{"accuracy", number(s.accuracy)},
                             {"mean_iou", number(s.mean_iou)},
                             {"mean_dice", number(s.mean_dice)},
                             {"mean_precision", number(s.mean_precision)},
                             {"mean_recall", number(s.mean_recall)}};
  for (size_t i = 0; i < classes.size(); ++i) {
    const ClassScores& c = s.classes[i];
    out["classes"].push_back({{"name", classes[i].name},
                              {"pixels", c.pixels},
                              {"accuracy", number(c.accuracy)},
                              {"iou", number(c.iou)},
                              {"dice", number(c.dice)},
                              {"precision", number(c.precision)},
                              {"recall", number(c.recall)}});
  }
  for (int64_t t = 0; t < confusion.classes(); ++t) {
    auto row = nlohmann::ordered_json::array();
    for (int64_t p = 0; p < confusion.classes(); ++p) row.push_back(confusion.count(t, p));
    out["confusion"].push_back(row);
  }
  return out;
}

std::string to_table(const Scores& s, const std::vector<io::ClassInfo>& classes) {
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

}  // namespace unetd
