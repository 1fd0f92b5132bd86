#include "io/target_maps.h"

#include "engine/base/error.h"
#include "io/canvas.h"
#include "io/ramp.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace unetd::io {
namespace {

constexpr int64_t long_side = 240, zoom = 2, side = long_side * zoom;
constexpr int64_t margin = 16, line_height = 22, bar_height = 14, gap = margin / 2;
constexpr Rgb no_target = {205, 205, 205}, rule = {150, 150, 150}, dim = {95, 95, 95};

// The ramp between its ends takes what the text beside it leaves of the width.
void draw_legend(Canvas& canvas, std::pair<double, double> range, int64_t y) {
  const std::string low = str(range.first), high = str(range.second), none = "none";
  const int64_t right = margin + side - text_width(none);
  canvas.text(right, y, none, dim);
  const int64_t swatch = right - gap - bar_height;
  canvas.fill({swatch, y, bar_height, bar_height}, no_target);
  const int64_t high_at = swatch - 2 * margin - text_width(high);
  canvas.text(high_at, y, high, dim);
  canvas.text(margin, y, low, dim);
  const int64_t bar = margin + text_width(low) + gap, width = high_at - gap - bar;
  for (int64_t i = 0; i < width; ++i)
    canvas.fill({bar + i, y, 1, bar_height},
                ramp_color(static_cast<double>(i) / static_cast<double>(width - 1)));
}

void draw_map(Canvas& canvas, const TargetMaps::Ground& ground, std::pair<double, double> range,
              int64_t y) {
  const auto [low, high] = range;
  for (size_t cell = 0; cell < ground.cells(); ++cell) {
    const double mean = ground.mean(cell);
    const auto at = static_cast<int64_t>(cell);
    const Rgb color =
        std::isnan(mean) ? no_target : ramp_color(high > low ? (mean - low) / (high - low) : 0.5);
    canvas.fill({margin + at % ground.shape.w * zoom, y + at / ground.shape.w * zoom, zoom, zoom},
                color);
  }
  canvas.frame({margin - 1, y - 1, ground.shape.w * zoom + 2, ground.shape.h * zoom + 2}, rule);
}

}  // namespace

TargetMaps::TargetMaps(const StoreSchema& schema) {
  UNETD_CHECK(schema.target, "maps of the targets of a store of classes");
  target_ = *schema.target;
  Grounds grounds = grounds_of(schema.sources, long_side);
  ground_of_ = std::move(grounds.of_source);
  for (io::Ground& ground : grounds.list) {
    const size_t cells = ground.cells();
    grounds_.push_back(
        {std::move(ground), std::vector<double>(cells), std::vector<int64_t>(cells)});
  }
}

void TargetMaps::add(const PatchRecord& record, const Tensor& targets) {
  const int64_t number = ground_of_[static_cast<size_t>(record.source)];
  if (number >= std::ssize(grounds_)) return;
  Ground& ground = grounds_[static_cast<size_t>(number)];
  const auto values = targets.span<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    const size_t cell = ground.cell(record, i);
    ground.sums[cell] += static_cast<double>(values[i]);
    ++ground.counts[cell];
  }
}

double TargetMaps::Ground::mean(size_t cell) const {
  return counts[cell] == 0 ? NAN : sums[cell] / static_cast<double>(counts[cell]);
}

std::pair<double, double> TargetMaps::range() const {
  std::vector<double> means;
  for (const Ground& ground : grounds_)
    for (size_t cell = 0; cell < ground.cells(); ++cell)
      if (ground.counts[cell] > 0) means.push_back(ground.mean(cell));
  if (means.empty()) return {0, 0};
  std::ranges::sort(means);
  const size_t tail = means.size() / 50;
  const double low = means[tail], high = means[means.size() - 1 - tail];
  return low < high ? std::pair(low, high) : std::pair(means.front(), means.back());
}

Tensor TargetMaps::picture() const {
  const auto height_of = [](const Ground& g) { return line_height + g.shape.h * zoom + margin; };
  const int64_t top = margin + 2 * line_height + margin / 2;
  int64_t height = top;
  for (const Ground& ground : grounds_) height += height_of(ground);
  Canvas canvas(side + 2 * margin, height);
  canvas.text(margin, margin, fitted(target_.in_words(), side));
  draw_legend(canvas, range(), margin + line_height);
  int64_t y = top;
  for (const Ground& ground : grounds_) {
    canvas.text(margin, y, fitted(ground.heading(), side), dim);
    draw_map(canvas, ground, range(), y + line_height);
    y += height_of(ground);
  }
  return canvas.picture().clone();
}

}  // namespace unetd::io
