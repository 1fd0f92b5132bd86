#include "tools/report.h"

#include "engine/base/file.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>
#include <utility>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

using nlohmann::json;
using Points = std::vector<std::pair<double, double>>;

struct Curve {
  std::string name, color;
  Points points;
};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string fixed(double x, int digits) {
  if (!std::isfinite(x)) return "-";
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}

double score(const json& object, const char* key) {
  return object.contains(key) && object[key].is_number() ? object[key].get<double>() : std::nan("");
}

// A line chart. Both axes begin at the smallest and end at the largest value shown.
std::string chart(const std::string& title, const std::vector<Curve>& curves) {
  constexpr double width = 560, height = 260, left = 52, right = 14, top = 14, bottom = 30;
  double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
  for (const Curve& c : curves) {
    for (const auto& [x, y] : c.points) {
      x0 = std::min(x0, x), x1 = std::max(x1, x), y0 = std::min(y0, y), y1 = std::max(y1, y);
    }
  }
  if (!(x0 < x1) || !std::isfinite(y0)) return "";
  if (y1 - y0 < 1e-9) y1 = y0 + 1e-9;
  const auto px = [&](double x) { return left + (x - x0) / (x1 - x0) * (width - left - right); };
  const auto py = [&](double y) { return top + (y1 - y) / (y1 - y0) * (height - top - bottom); };
  std::ostringstream out;
  out << "<figure><figcaption>" << escaped(title) << "</figcaption><svg viewBox=\"0 0 " << width
      << ' ' << height << "\">";
  for (int i = 0; i <= 4; ++i) {
    const double y = y0 + (y1 - y0) * i / 4, x = x0 + (x1 - x0) * i / 4;
    out << "<line class=\"grid\" x1=\"" << left << "\" x2=\"" << width - right << "\" y1=\""
        << py(y) << "\" y2=\"" << py(y) << "\"/><text x=\"" << left - 6 << "\" y=\"" << py(y) + 4
        << "\" text-anchor=\"end\">" << fixed(y, y1 < 0.01 ? 5 : 3) << "</text><text x=\"" << px(x)
        << "\" y=\"" << height - 10 << "\" text-anchor=\"middle\">" << fixed(x, 0) << "</text>";
  }
  for (const Curve& c : curves) {
    out << "<polyline fill=\"none\" stroke=\"" << c.color << "\" stroke-width=\"1.6\" points=\"";
    for (const auto& [x, y] : c.points) out << fixed(px(x), 1) << ',' << fixed(py(y), 1) << ' ';
    out << "\"/>";
  }
  out << "</svg><p class=\"legend\">";
  for (const Curve& c : curves) {
    out << "<span><i style=\"background:" << c.color << "\"></i>" << escaped(c.name) << "</span>";
  }
  out << "</p></figure>\n";
  return out.str();
}

// The curves of metrics.jsonl, and the line with the best validation.
struct History {
  Points loss, learning_rate, valid_loss, mean_iou;
  std::vector<Points> class_iou;
  json best;

  History(const std::string& metrics, size_t classes) : class_iou(classes) {
    std::istringstream lines(metrics);
    for (std::string line; std::getline(lines, line);) {
      const json o = json::parse(line);
      const double step = o["step"];
      if (o.contains("loss")) {
        loss.emplace_back(step, o["loss"]);
        learning_rate.emplace_back(step, o["learning_rate"]);
        continue;
      }
      const json& v = o["valid"];
      valid_loss.emplace_back(step, o["valid_loss"]);
      const double iou = score(v, "mean_iou");
      if (!std::isfinite(iou)) continue;
      mean_iou.emplace_back(step, iou);
      for (size_t c = 0; c < classes; ++c) {
        const double x = score(v["classes"][c], "iou");
        if (std::isfinite(x)) class_iou[c].emplace_back(step, x);
      }
      if (best.is_null() || iou > score(best["valid"], "mean_iou")) best = o;
    }
  }
};

std::string scores_table(const json& best, const std::vector<io::ClassInfo>& classes) {
  std::ostringstream out;
  out << "<h2>Best validation, step " << best["step"] << "</h2><table><tr><th></th>";
  constexpr const char* columns[] = {"iou", "dice", "precision", "recall", "accuracy"};
  for (const char* c : columns) out << "<th>" << c << "</th>";
  out << "<th>pixels</th></tr>";
  const json& v = best["valid"];
  for (size_t i = 0; i < classes.size(); ++i) {
    out << "<tr><th><i style=\"background:" << escaped(classes[i].color) << "\"></i>"
        << escaped(classes[i].name) << "</th>";
    for (const char* c : columns) out << "<td>" << fixed(score(v["classes"][i], c), 3) << "</td>";
    out << "<td>" << v["classes"][i]["pixels"] << "</td></tr>";
  }
  out << "<tr><th>mean</th>";
  for (const char* c : {"mean_iou", "mean_dice", "mean_precision", "mean_recall", "accuracy"}) {
    out << "<td>" << fixed(score(v, c), 3) << "</td>";
  }
  out << "<td></td></tr></table>\n";
  return out.str();
}

// Rows are the truth; each cell shows its share of the row and is shaded by it.
std::string confusion_table(const json& best, const std::vector<io::ClassInfo>& classes) {
  std::ostringstream out;
  out << "<h2>Confusion matrix</h2><table><tr><th>truth \\ prediction</th>";
  for (const io::ClassInfo& c : classes) out << "<th>" << escaped(c.name) << "</th>";
  out << "</tr>";
  const json& matrix = best["valid"]["confusion"];
  for (size_t t = 0; t < classes.size(); ++t) {
    double row = 0;
    for (const json& n : matrix[t]) row += n.get<double>();
    out << "<tr><th>" << escaped(classes[t].name) << "</th>";
    for (const json& n : matrix[t]) {
      const double share = row > 0 ? n.get<double>() / row : 0;
      out << "<td style=\"background:rgba(47,111,222," << fixed(share, 2) << ")\">"
          << fixed(100 * share, 1) << " %</td>";
    }
    out << "</tr>";
  }
  out << "</table>\n";
  return out.str();
}

// Which implementations the training step ran on.
std::string kernels_table(const std::vector<Session::NodeReport>& nodes) {
  std::map<std::pair<std::string, std::string>, int> count;
  for (const Session::NodeReport& n : nodes) ++count[{n.problem, n.implementation}];
  std::ostringstream out;
  out << "<h2>Kernels of the training step</h2><table><tr><th>operation</th><th>implementation"
         "</th><th>nodes</th></tr>";
  for (const auto& [key, n] : count) {
    out << "<tr><th>" << key.first << "</th><td>" << key.second << "</td><td>" << n << "</td></tr>";
  }
  out << "</table>\n";
  return out.str();
}

constexpr const char* style =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;"
    "color:#222}figure{display:inline-block;width:560px;margin:0 10px 10px 0}"
    "figcaption{font-weight:600}svg text{font-size:11px;fill:#666}.grid{stroke:#e4e4e4}"
    "table{border-collapse:collapse;margin:.5em 0}td,th{padding:.25em .8em;border:1px solid #ddd;"
    "text-align:right}th{text-align:left;font-weight:600}i{display:inline-block;width:.8em;"
    "height:.8em;margin-right:.4em;border:1px solid #888}.legend span{margin-right:1.2em}"
    "pre{background:#f6f6f6;padding:1em;overflow:auto}";

}  // namespace

void write_report(const std::filesystem::path& file, const ReportData& data) {
  const History h(data.metrics, data.classes.size());
  std::ostringstream out;
  const std::string title = file.parent_path().filename().string();
  out << "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>unetd: " << escaped(title)
      << "</title><style>" << style << "</style><h1>" << escaped(title) << "</h1><p>UNet of width "
      << data.model.width << " and depth " << data.model.depth << ", " << data.model.in_channels
      << " bands, " << data.model.classes << " outputs; trained for " << fixed(data.seconds / 60, 1)
      << " minutes.</p>\n";
  std::vector<Curve> iou{{"mean", "#222222", h.mean_iou}};
  for (size_t c = 0; c < data.classes.size(); ++c) {
    iou.push_back({data.classes[c].name, data.classes[c].color, h.class_iou[c]});
  }
  out << chart("Loss", {{"training", "#9bb8ea", h.loss}, {"valid", "#c23b4b", h.valid_loss}})
      << chart("IoU of the valid split", iou)
      << chart("Learning rate", {{"learning rate", "#2f6fde", h.learning_rate}});
  if (!h.best.is_null()) {
    out << scores_table(h.best, data.classes) << confusion_table(h.best, data.classes);
  }
  out << kernels_table(data.nodes) << "<h2>Configuration</h2><pre>" << escaped(data.config)
      << "</pre></html>\n";
  write_file(file, out.str());
}

}  // namespace unetd
