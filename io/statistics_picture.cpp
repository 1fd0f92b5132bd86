#include "io/statistics_picture.h"

#include "engine/base/error.h"
#include "engine/base/ticks.h"
#include "io/canvas.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace unetd::io {
namespace {

constexpr int64_t plot_width = 640, row_height = 40, curve_height = 36, axis_height = 62;
constexpr int64_t margin = 16, gap = 12, line_height = 22;
constexpr Rgb dark = {44, 98, 155}, light = {176, 202, 226}, median_color = {240, 140, 10};
constexpr Rgb rule = {150, 150, 150}, grid_color = {228, 228, 228}, dim = {95, 95, 95};

struct Row {
  const SceneBand* band = nullptr;
  const StatisticsAccumulator* samples = nullptr;
  BandStatistics statistics;

  double physical(double sample) const { return sample * band->scale + band->offset; }
  double low() const { return std::min(physical(percentile(1)), physical(percentile(99))); }
  double high() const { return std::max(physical(percentile(1)), physical(percentile(99))); }
  double percentile(double p) const { return statistics.percentile(p); }
};

// Rows on one axis.
struct Panel {
  std::vector<Row> rows;
  double low = 0, high = 0;

  // Does the row's scale mean the same, and can each be seen on an axis that fits the others?
  bool takes(const Row& row) const {
    constexpr double most = 30;
    const SceneBand& first = *rows.front().band;
    const auto [narrow, wide] = std::minmax({row.high() - row.low(), high - low});
    return row.band->scale == first.scale && row.band->offset == first.offset &&
           wide <= most * narrow &&
           std::max(high, row.high()) - std::min(low, row.low()) <= most * wide;
  }
  void add(const Row& row) {
    low = rows.empty() ? row.low() : std::min(low, row.low());
    high = rows.empty() ? row.high() : std::max(high, row.high());
    rows.push_back(row);
  }
  // Some room at both ends; never empty.
  void widen() {
    const double room = std::max((high - low) * 0.04, std::max(std::abs(high), 1.0) * 1e-3);
    low -= room;
    high += room;
  }
  double place(double physical) const { return (physical - low) / (high - low); }
};

std::vector<Panel> panels_of(std::span<const SceneBand> bands,
                             std::span<const StatisticsAccumulator> statistics) {
  std::vector<Panel> panels;
  for (size_t b = 0; b < bands.size(); ++b) {
    const Row row{&bands[b], &statistics[b], statistics[b].result()};
    const auto fits = [&](const Panel& panel) { return panel.takes(row); };
    const auto found = std::ranges::find_if(panels, fits);
    (found == panels.end() ? panels.emplace_back() : *found).add(row);
  }
  for (Panel& panel : panels) panel.widen();
  return panels;
}

// Shares of the samples in the columns of the plot, from left to right.
std::vector<double> columns_of(const Panel& panel, const Row& row, size_t columns) {
  const SceneBand& band = *row.band;
  const double a = (panel.low - band.offset) / band.scale;
  const double b = (panel.high - band.offset) / band.scale;
  std::vector<double> shares = row.samples->histogram(std::min(a, b), std::max(a, b), columns);
  if (a > b) std::ranges::reverse(shares);
  return shares;
}

// What goes up to the top of a row: the 99th percentile of the columns that hold anything. The few
// above it are cut, so that a spike (saturated clouds, a lake at one height) leaves the rest to be
// seen.
double top_of(std::vector<double> shares) {
  std::erase(shares, 0.0);
  if (shares.empty()) return 0;
  const auto at = shares.begin() + std::ssize(shares) * 99 / 100;
  std::ranges::nth_element(shares, at);
  return *at;
}

void draw_curve(Canvas& canvas, const Panel& panel, const Row& row, int64_t left, int64_t base) {
  constexpr int64_t step = 2;  // pixels a column
  const std::vector<double> shares = columns_of(panel, row, plot_width / step);
  const double top = top_of(shares);
  const double first = panel.place(row.low()), last = panel.place(row.high());
  for (size_t i = 0; i < shares.size() && top > 0; ++i) {
    const double at = (static_cast<double>(i) + 0.5) / static_cast<double>(shares.size());
    const double height = std::ceil(std::min(shares[i] / top, 1.0) * curve_height);
    canvas.fill({left + static_cast<int64_t>(i) * step, base - std::lround(height), step,
                 std::lround(height)},
                at >= first && at <= last ? dark : light);
  }
  canvas.fill({left, base, plot_width, 1}, grid_color);
  if (top <= 0) return;
  const double median = panel.place(row.physical(row.percentile(50)));
  canvas.fill(
      {left + std::lround(median * plot_width) - 1, base - curve_height, step, curve_height},
      median_color);
}

std::string nodata_text(const BandStatistics& s) {
  const double per_mille = std::round(1000 * s.nodata_share());
  return s.nodata == 0 ? "-" : per_mille == 0 ? "< 0.1 %" : str(per_mille / 10, " %");
}

void draw_axis(Canvas& canvas, const Panel& panel, int64_t left, int64_t top, int64_t base) {
  constexpr double about = 6;
  canvas.fill({left, base, plot_width, 1}, rule);
  for (const double tick :
       ticks(panel.low, panel.high, round_up((panel.high - panel.low) / about))) {
    const int64_t x = left + std::lround(panel.place(tick) * (plot_width - 1));
    canvas.fill({x, top, 1, base - top}, grid_color);
    canvas.fill({x, base, 1, 6}, rule);
    const std::string label = str(tick);
    canvas.text(x - text_width(label) / 2, base + 10, label, dim);
  }
  const SceneBand& band = *panel.rows.front().band;
  const bool plain = band.scale == 1 && band.offset == 0;
  const std::string meaning =
      plain ? "sample"
            : str("sample * ", band.scale, band.offset < 0 ? " - " : " + ", std::abs(band.offset));
  canvas.text(left + (plot_width - text_width(meaning)) / 2, base + 10 + line_height, meaning, dim);
}

void draw_panel(Canvas& canvas, const Panel& panel, int64_t left, int64_t top) {
  const int64_t base = top + row_height * std::ssize(panel.rows);
  draw_axis(canvas, panel, left, top, base);
  for (size_t i = 0; i < panel.rows.size(); ++i) {
    const Row& row = panel.rows[i];
    const int64_t own_base = top + row_height * static_cast<int64_t>(i + 1);
    draw_curve(canvas, panel, row, left, own_base);
    const int64_t line = own_base - line_height;
    const std::string name = fitted(row.band->name, left - margin - gap);
    canvas.text(left - gap - text_width(name), line, name);
    canvas.text(left + plot_width + gap, line, nodata_text(row.statistics), dim);
  }
}

}  // namespace

Tensor statistics_picture(std::span<const SceneBand> bands,
                          std::span<const StatisticsAccumulator> statistics) {
  UNETD_CHECK(!bands.empty() && bands.size() == statistics.size(), bands.size(), " bands, ",
              statistics.size(), " histograms");
  constexpr int64_t widest_name = 240;
  int64_t names = 0;
  for (const SceneBand& band : bands) names = std::clamp(text_width(band.name), names, widest_name);
  const std::vector<Panel> panels = panels_of(bands, statistics);
  const std::string title = "Histograms of the training patches";
  const std::string note = "blue: 1 % to 99 %, pale beyond; orange: median; spikes cut";
  const int64_t left = margin + names + gap, right = gap + text_width("nodata ") + margin;
  const int64_t top = margin + 3 * line_height;
  Canvas canvas(left + plot_width + right,
                top + row_height * std::ssize(bands) + axis_height * std::ssize(panels) + margin);
  canvas.text(left, margin, title);
  canvas.text(left, margin + line_height, note, dim);
  canvas.text(left + plot_width + gap, margin, "nodata", dim);
  int64_t y = top;
  for (const Panel& panel : panels) {
    draw_panel(canvas, panel, left, y);
    y += row_height * std::ssize(panel.rows) + axis_height;
  }
  return canvas.picture().clone();
}

}  // namespace unetd::io
