#include "tools/report/sections.h"

#include "tools/report/chart.h"
#include "tools/report/html.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <nlohmann/json.hpp>
#include <sys/resource.h>

namespace unetd::report {
namespace {

using nlohmann::ordered_json;

// A score that is not defined is null.
double score(const ordered_json& object, const char* key) {
  return object.contains(key) && object[key].is_number() ? object[key].get<double>() : std::nan("");
}

// Blue behind a number, stronger with its share of the whole.
std::string shade(double share) {
  return "style=\"background:rgba(47,111,222," + fixed(0.75 * share, 2) + ")\"";
}

std::string class_heading(const io::ClassInfo& c) { return swatch(c.color) + escaped(c.name); }

std::string milliseconds(double seconds) { return fixed(1e3 * seconds, 2) + " ms"; }

std::string stage_table(const StageTimes& stages) {
  const double total = stages.waiting + stages.steps + stages.validation + stages.checkpoints;
  if (!(total > 0)) return "";
  Table table({"stage", "seconds", "share"});
  const auto add = [&](const char* name, double seconds) {
    table.add({name, fixed(seconds, 1), {percent(seconds / total), shade(seconds / total)}});
  };
  add("training steps", stages.steps);
  add("waiting for patches", stages.waiting);
  add("validation", stages.validation);
  add("checkpoints", stages.checkpoints);
  return table.html();
}

std::string operations_table(const std::vector<Session::NodeReport>& nodes, int64_t profiled) {
  struct Sum {
    int64_t nodes = 0;
    double seconds = 0;
  };
  std::map<std::pair<std::string, std::string>, Sum> sums;
  double total = 0;
  for (const Session::NodeReport& node : nodes) {
    Sum& sum = sums[{node.problem, node.implementation}];
    ++sum.nodes;
    sum.seconds += node.seconds;
    total += node.seconds;
  }
  using Row = std::pair<std::pair<std::string, std::string>, Sum>;
  std::vector<Row> rows(sums.begin(), sums.end());
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.second.seconds > b.second.seconds; });
  Table table({"operation", "implementation", "nodes", "a step", "share"});
  for (const auto& [key, sum] : rows) {
    std::vector<Table::Cell> cells{escaped(key.first), escaped(key.second), grouped(sum.nodes)};
    if (profiled > 0 && total > 0) {
      cells.emplace_back(milliseconds(sum.seconds / static_cast<double>(profiled)));
      cells.emplace_back(percent(sum.seconds / total), shade(sum.seconds / total));
    }
    table.add(cells);
  }
  return table.html();
}

std::string slowest_table(std::vector<Session::NodeReport> nodes, int64_t profiled) {
  constexpr size_t most = 15;
  const double total = std::accumulate(
      nodes.begin(), nodes.end(), 0.0,
      [](double sum, const Session::NodeReport& node) { return sum + node.seconds; });
  std::stable_sort(nodes.begin(), nodes.end(),
                   [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  nodes.resize(std::min(most, nodes.size()));
  Table table({"writes", "operation", "implementation", "a step", "share"});
  for (const Session::NodeReport& node : nodes) {
    table.add({escaped(node.label),
               escaped(node.problem),
               escaped(node.implementation),
               milliseconds(node.seconds / static_cast<double>(profiled)),
               {percent(node.seconds / total), shade(node.seconds / total)}});
  }
  return table.html();
}

}  // namespace

std::string class_legend(const std::vector<io::ClassInfo>& classes) {
  std::string out = "<p class=\"legend\">";
  for (const io::ClassInfo& c : classes) out += "<span>" + class_heading(c) + "</span>";
  return out + "</p>\n";
}

std::string facts(const Facts& facts) {
  std::string out = "<div class=\"facts\">";
  for (const auto& [name, value] : facts) {
    out += "<div>" + escaped(name) + "<b>" + escaped(value) + "</b></div>";
  }
  return out + "</div>\n";
}

std::string scores_section(const std::string& title, const ordered_json& scores,
                           const std::vector<io::ClassInfo>& classes) {
  constexpr const char* of_class[] = {"iou", "dice", "precision", "recall", "accuracy"};
  constexpr const char* of_all[] = {"mean_iou", "mean_dice", "mean_precision", "mean_recall",
                                    "accuracy"};
  Table table({"class", "IoU", "Dice", "precision", "recall", "accuracy", "pixels"});
  const auto row = [&](const std::string& name, const ordered_json& values, const auto& keys,
                       const std::string& pixels) {
    std::vector<Table::Cell> cells{name};
    for (const char* key : keys) cells.emplace_back(fixed(score(values, key), 3));
    cells.emplace_back(pixels);
    table.add(cells);
  };
  for (size_t i = 0; i < classes.size(); ++i) {
    const ordered_json& values = scores["classes"][i];
    row(class_heading(classes[i]), values, of_class, grouped(values["pixels"]));
  }
  row("mean", scores, of_all, "");
  std::string out = table.html();
  if (scores.contains("at_threshold")) {
    const ordered_json& claimed = scores["at_threshold"];
    Table each({"class", "IoU", "Dice", "precision", "recall", "accuracy"});
    for (size_t i = 0; i < classes.size(); ++i) {
      std::vector<Table::Cell> cells{class_heading(classes[i])};
      for (const char* key : of_class)
        cells.emplace_back(fixed(score(claimed["classes"][i], key), 3));
      each.add(cells);
    }
    out += "<h3>Each class by itself, where its probability exceeds " +
           escaped(claimed["threshold"].dump()) + "</h3>\n" + each.html();
  }
  return section(title, out);
}

std::string confusion_section(const ordered_json& scores,
                              const std::vector<io::ClassInfo>& classes) {
  std::vector<std::string> columns{"truth \\ prediction"};
  for (const io::ClassInfo& c : classes) columns.push_back(class_heading(c));
  Table table(columns);
  const ordered_json& matrix = scores["confusion"];
  for (size_t truth = 0; truth < classes.size(); ++truth) {
    double row = 0;
    for (const ordered_json& n : matrix[truth]) row += n.get<double>();
    std::vector<Table::Cell> cells{class_heading(classes[truth])};
    for (const ordered_json& n : matrix[truth]) {
      const double share = row > 0 ? n.get<double>() / row : 0;
      cells.emplace_back(row > 0 ? percent(share) : "-",
                         shade(share) + " title=\"" + grouped(n) + " pixels\"");
    }
    table.add(cells);
  }
  return section("Confusion matrix",
                 "<p class=\"dim\">A row is the truth: its pixels, by the "
                 "class that was predicted.</p>" +
                     table.html());
}

std::string calibration_section(const ordered_json& scores) {
  if (!scores.contains("calibration")) return "";
  const ordered_json& calibration = scores["calibration"];
  Points reached;
  double all = 0;
  for (const ordered_json& bin : calibration["bins"]) all += bin["pixels"].get<double>();
  Table table({"confidence", "accuracy", "pixels", "share"});
  for (const ordered_json& bin : calibration["bins"]) {
    const double pixels = bin["pixels"];
    if (pixels == 0) continue;
    reached.emplace_back(bin["confidence"], bin["accuracy"]);
    table.add({fixed(bin["confidence"], 3),
               fixed(bin["accuracy"], 3),
               grouped(bin["pixels"]),
               {percent(pixels / all), shade(pixels / all)}});
  }
  const std::string chart = line_chart(
      "Accuracy over confidence",
      {{"perfectly calibrated", "#999999", {{0, 0}, {1, 1}}}, {"this network", "#5b8def", reached}},
      1);
  return section("Calibration",
                 "<p class=\"dim\">How often pixels are right of which the network is so sure. "
                 "Expected calibration error: " +
                     fixed(score(calibration, "error"), 4) + ".</p>\n<div class=\"charts\">" +
                     chart + "<div>" + table.html() + "</div></div>");
}

std::string classes_section(const io::StoreSchema& schema) {
  std::vector<std::string> columns{"class"};
  std::vector<std::vector<Table::Cell>> rows;
  for (const io::ClassInfo& c : schema.classes) rows.push_back({class_heading(c)});
  rows.push_back({"ignored"});
  std::string bars;
  for (size_t split = 0; split < schema.class_pixels.size(); ++split) {
    const std::vector<int64_t>& pixels = schema.class_pixels[split];
    const int64_t patches = std::count_if(
        schema.patches.begin(), schema.patches.end(),
        [&](const io::PatchRecord& p) { return p.split == static_cast<io::Split>(split); });
    if (patches == 0) continue;
    const auto labelled =
        static_cast<double>(std::accumulate(pixels.begin(), pixels.end() - 1, int64_t{0}));
    columns.insert(columns.end(), {std::string(io::split_names[split]) + " pixels", "share"});
    bars += std::string("<div>") + io::split_names[split] + ", " + grouped(patches) +
            " patches</div><div class=\"bar\">";
    for (size_t c = 0; c < rows.size(); ++c) {
      const bool ignored = c == schema.classes.size();
      const double share = labelled > 0 ? static_cast<double>(pixels[c]) / labelled : 0;
      rows[c].emplace_back(grouped(pixels[c]));
      rows[c].emplace_back(ignored || labelled == 0 ? "-" : percent(share));
      if (ignored || share == 0) continue;
      bars += "<div style=\"width:" + fixed(100 * share, 3) +
              "%;background:" + escaped(schema.classes[c].color) + "\" title=\"" +
              escaped(schema.classes[c].name) + " " + percent(share) + "\"></div>";
    }
    bars += "</div>\n";
  }
  Table table(columns);
  for (const auto& row : rows) table.add(row);
  return section("Classes of each split", class_legend(schema.classes) + bars + table.html());
}

std::string samples_section(const std::string& title, const std::vector<Sample>& samples,
                            const std::string& legend) {
  if (samples.empty()) return "";
  std::string out = legend;
  for (const Sample& sample : samples) {
    out += "<div class=\"sample\"><p>" + escaped(sample.place) + ": " + escaped(sample.result) +
           "</p><div class=\"pictures\">";
    for (const auto& [what, picture] : sample.pictures) {
      out += "<figure>" + image(picture, what + " of " + sample.place) + "<figcaption>" +
             escaped(what) + "</figcaption></figure>";
    }
    out += "</div></div>\n";
  }
  return section(title, out);
}

std::string timings_section(const StageTimes& stages, const std::vector<Session::NodeReport>& nodes,
                            int64_t profiled) {
  std::string out = stage_table(stages) + "<h3>Operations of the training step</h3>\n";
  if (profiled == 0) {
    out += "<p class=\"dim\">The run was too short to time them.</p>\n";
    return section("Timings", out + operations_table(nodes, profiled));
  }
  out += "<p class=\"dim\">Means of " + grouped(profiled) + " timed steps.</p>\n" +
         operations_table(nodes, profiled) + "<h3>Its slowest nodes</h3>\n" +
         slowest_table(nodes, profiled);
  return section("Timings", out);
}

std::string memory_section(const MemoryUse& memory) {
  Table table({"memory", ""});
  table.add({"parameters", grouped(memory.parameters)});
  table.add({"parameters, gradients, moments, averages", mebibytes(memory.session.external)});
  table.add({"arena of the training step", mebibytes(memory.session.arena)});
  table.add({"the least that any plan could do with", mebibytes(memory.session.peak_live)});
  table.add({"the step's values without sharing", mebibytes(memory.session.sum)});
  table.add({"largest resident size of the process", mebibytes(memory.process_peak)});
  return section("Memory", table.html());
}

size_t process_peak() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  constexpr size_t unit = 1024;  // Linux counts in KiB
  return static_cast<size_t>(usage.ru_maxrss) * unit;
}

std::string configuration_section(const std::string& yaml) {
  return section("Configuration", "<details><summary>all settings, as resolved</summary><pre>" +
                                      escaped(yaml) + "</pre></details>\n");
}

}  // namespace unetd::report
