#include "io/class_maps.h"

#include "engine/base/error.h"
#include "io/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace unetd::io {
namespace {

constexpr int64_t long_side = 48, zoom = 6, margin = 16, line_height = 22;
constexpr int64_t title_height = line_height + margin / 2;
constexpr int64_t side = long_side * zoom, most_columns = 6;
constexpr Rgb no_patch = {205, 205, 205}, rule = {150, 150, 150}, dim = {95, 95, 95};

// From none to most, darker and darker.
Rgb shade(double x) {
  constexpr std::array<std::array<double, 3>, 5> anchors = {
      {{250, 250, 238}, {196, 226, 190}, {96, 184, 188}, {40, 110, 168}, {20, 32, 92}}};
  const double at = std::clamp(x, 0.0, 1.0) * (anchors.size() - 1);
  const auto i = std::min(static_cast<size_t>(at), anchors.size() - 2);
  const double t = at - static_cast<double>(i);
  Rgb color{};
  for (size_t k = 0; k < color.size(); ++k)
    color[k] = static_cast<uint8_t>(std::lround((1 - t) * anchors[i][k] + t * anchors[i + 1][k]));
  return color;
}

std::string percent(double share) {
  return share > 0 && share < 0.001 ? "< 0.1 %" : str(std::round(1000 * share) / 10, " %");
}

void draw_map(Canvas& canvas, const ClassMaps::Ground& ground, size_t cls, const ClassInfo& info,
              int64_t x, int64_t y) {
  const size_t cells = ground.cells();
  double most = 0;
  for (size_t cell = 0; cell < cells; ++cell) most = std::max(most, ground.share(cls, cell));
  const auto& own = ground.pixels[cls];
  int64_t all = 0;
  for (size_t cell = 0; cell < cells; ++cell) all += ground.labelled(cell);
  const auto total = static_cast<double>(std::accumulate(own.begin(), own.end(), int64_t{0}));
  canvas.fill({x, y, line_height - 8, line_height - 8}, rgb(info.color));
  canvas.frame({x, y, line_height - 8, line_height - 8}, rule);
  canvas.text(x + line_height, y, fitted(info.name, side - line_height));
  canvas.text(
      x, y + line_height,
      str(percent(all > 0 ? total / static_cast<double>(all) : 0), ", most ", percent(most)), dim);
  y += 2 * line_height;
  for (size_t cell = 0; cell < cells; ++cell) {
    const double share = ground.share(cls, cell);
    const auto at = static_cast<int64_t>(cell);
    canvas.fill({x + at % ground.shape.w * zoom, y + at / ground.shape.w * zoom, zoom, zoom},
                share < 0 ? no_patch : shade(most > 0 ? share / most : 0));
  }
  canvas.frame({x - 1, y - 1, ground.shape.w * zoom + 2, ground.shape.h * zoom + 2}, rule);
}

void draw_legend(Canvas& canvas, int64_t y) {
  constexpr int64_t bar = 160, height = 14;
  int64_t x = margin;
  const auto label = [&](const std::string& text) {
    canvas.text(x, y, text, dim);
    x += text_width(text) + margin / 2;
  };
  label("none");
  for (int64_t i = 0; i < bar; ++i)
    canvas.fill({x + i, y, 1, height}, shade(static_cast<double>(i) / (bar - 1)));
  x += bar + margin / 2;
  label("most");
  x += 2 * margin;
  canvas.fill({x, y, height, height}, no_patch);
  x += height + margin / 2;
  label("no patch");
}

}  // namespace

ClassMaps::ClassMaps(const StoreSchema& schema) : classes_(schema.classes) {
  Grounds grounds = grounds_of(schema.sources, long_side);
  ground_of_ = std::move(grounds.of_source);
  for (io::Ground& ground : grounds.list) {
    const std::vector<int64_t> none(ground.cells());
    grounds_.push_back({std::move(ground), std::vector(classes_.size(), none)});
  }
}

int64_t ClassMaps::Ground::labelled(size_t cell) const {
  int64_t sum = 0;
  for (const auto& cells : pixels) sum += cells[cell];
  return sum;
}

double ClassMaps::Ground::share(size_t cls, size_t cell) const {
  const int64_t all = labelled(cell);
  return all == 0 ? -1 : static_cast<double>(pixels[cls][cell]) / static_cast<double>(all);
}

void ClassMaps::add(const PatchRecord& record, const Tensor& labels) {
  const int64_t number = ground_of_[static_cast<size_t>(record.source)];
  if (number >= std::ssize(grounds_)) return;
  Ground& ground = grounds_[static_cast<size_t>(number)];
  const auto label = labels.span<uint8_t>();
  for (size_t i = 0; i < label.size(); ++i)
    if (label[i] != ignore_label) ++ground.pixels[label[i]][ground.cell(record, i)];
}

Tensor ClassMaps::picture() const {
  const int64_t classes = std::ssize(classes_), columns = std::min(classes, most_columns);
  const int64_t rows = (classes + columns - 1) / columns;  // of one ground
  const auto row_height = [&](const Ground& g) {
    return 2 * line_height + g.shape.h * zoom + margin;
  };
  int64_t height = 2 * margin + line_height;
  for (const Ground& g : grounds_) height += title_height + rows * row_height(g);
  constexpr int64_t narrowest = 520;  // for the legend
  Canvas canvas(std::max(margin + columns * (side + margin), narrowest), height);
  draw_legend(canvas, margin);
  int64_t y = margin + 2 * line_height - margin / 2;
  for (const Ground& g : grounds_) {
    canvas.text(margin, y, fitted(g.heading(), canvas.width() - 2 * margin), dim);
    y += title_height;
    for (int64_t c = 0; c < classes; ++c) {
      const auto cls = static_cast<size_t>(c);
      draw_map(canvas, g, cls, classes_[cls], margin + c % columns * (side + margin),
               y + c / columns * row_height(g));
    }
    y += rows * row_height(g);
  }
  return canvas.picture().clone();
}

}  // namespace unetd::io
