#include "tools/store_tables.h"

#include "engine/base/error.h"
#include "tools/report/html.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

using report::grouped;
using report::percent;

// Rows of equal length: the first column to the left, the others to the right.
std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      text += i == 0 ? row[i] + space : "  " + space + row[i];
    }
    text += '\n';
  }
  return text;
}

int64_t patches_of(const io::StoreSchema& schema, size_t split) {
  return std::ranges::count(schema.patches, static_cast<io::Split>(split), &io::PatchRecord::split);
}

}  // namespace

std::string class_table(const io::StoreSchema& schema) {
  std::vector<std::vector<std::string>> rows = {{str("pixels (patches of ", schema.patch, ")")}};
  for (const io::ClassInfo& c : schema.classes) rows.push_back({c.name});
  rows.push_back({"ignored"});
  rows.push_back({"patches"});
  for (size_t split = 0; split < io::split_names.size(); ++split) {
    const std::vector<int64_t>& pixels = schema.class_pixels[split];
    const int64_t labelled = std::accumulate(pixels.begin(), pixels.end() - 1, int64_t{0});
    rows[0].insert(rows[0].end(), {io::split_names[split], "share"});
    for (size_t c = 0; c < pixels.size(); ++c) {
      const bool none = labelled == 0 || c + 1 == pixels.size();
      const double share = static_cast<double>(pixels[c]) / static_cast<double>(labelled);
      rows[c + 1].insert(rows[c + 1].end(), {grouped(pixels[c]), none ? "-" : percent(share)});
    }
    rows.back().insert(rows.back().end(), {grouped(patches_of(schema, split)), ""});
  }
  return aligned(rows);
}

std::string target_table(const io::Target& t) {
  const std::string name = t.unit.empty() ? t.name : str(t.name, " (", t.unit, ")");
  return aligned({{"training targets", "pixels", "min", "mean", "deviation", "max"},
                  {name, grouped(t.count), str(t.min), str(t.mean), str(t.stddev), str(t.max)}});
}

nlohmann::ordered_json to_json(const io::Target& t) {
  return {{"name", t.name}, {"unit", t.unit}, {"count", t.count},  {"min", t.min},
          {"max", t.max},   {"mean", t.mean}, {"stddev", t.stddev}};
}

std::string statistics_table(const io::StoreSchema& schema) {
  std::vector<std::vector<std::string>> rows = {{"training samples", "min", "1 %", "mean",
                                                 "deviation", "99 %", "max", "nodata",
                                                 "saturated"}};
  for (size_t b = 0; b < schema.bands.size(); ++b) {
    const io::BandStatistics& s = schema.statistics[b];
    rows.push_back({schema.bands[b].name, str(s.min), str(s.percentile(1)), str(s.mean),
                    str(s.stddev), str(s.percentile(99)), str(s.max), percent(s.nodata_share()),
                    schema.bands[b].saturated ? percent(s.saturated_share()) : "-"});
  }
  return aligned(rows);
}

}  // namespace unetd
