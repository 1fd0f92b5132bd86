#include "io/overview.h"

#include "engine/base/pixel_type.h"
#include "io/canvas.h"
#include "io/gdal_quicklook.h"
#include "io/picture.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace unetd::io {
namespace {

constexpr size_t most_panels = 12, rgba = 4;
constexpr int64_t margin = 16, line_height = 24;
constexpr std::array<Rgb, 3> split_colors = {{{30, 105, 200}, {240, 140, 10}, {205, 25, 95}}};
constexpr Rgb rule = {150, 150, 150}, dim = {95, 95, 95};

// The long side of a panel, smaller where there are more.
int64_t panel_side(size_t panels) { return panels == 1 ? 1000 : panels <= 4 ? 640 : 420; }
int64_t panel_columns(size_t panels) { return panels == 1 ? 1 : panels <= 4 ? 2 : 3; }

std::string title_of(const StoreSource& source) {
  const std::string name = scene_name(source.scene);
  return source.date.empty() ? name : name + ", " + source.date;
}

void draw_legend(Canvas& canvas, const std::array<int64_t, 3>& patches) {
  int64_t x = margin;
  for (size_t s = 0; s < patches.size(); ++s) {
    const std::string label = str(split_names[s], " ", patches[s]);
    canvas.fill({x, margin, line_height - 8, line_height - 8}, split_colors[s]);
    canvas.text(x + line_height, margin, label);
    x += line_height + text_width(label) + 2 * margin;
  }
}

}  // namespace

Overview::Overview(const StoreSchema& schema)
    : bands_(true_colour(schema.bands)), sources_(std::ssize(schema.sources)) {
  const size_t panels = std::min(schema.sources.size(), most_panels);
  columns_ = panel_columns(panels);
  for (size_t i = 0; i < panels; ++i) {
    const StoreSource& source = schema.sources[i];
    Panel& panel = panels_.emplace_back();
    panel.title = title_of(source);
    panel.grid = source.grid;
    panel.shape = picture_shape(source.grid, panel_side(panels));
    const auto cells = static_cast<size_t>(panel.shape.pixels());
    panel.sums.resize(cells);
    panel.counts.resize(cells);
    panel.splits.resize(cells);
  }
}

Window Overview::Panel::cells(const Window& window) const {
  const Window inner = intersection(window, grid.whole());
  const int64_t left = inner.x * shape.w / grid.width, top = inner.y * shape.h / grid.height;
  const int64_t right = (inner.x + inner.width) * shape.w / grid.width;
  const int64_t bottom = (inner.y + inner.height) * shape.h / grid.height;
  return {left, top, std::max<int64_t>(right - left, 1), std::max<int64_t>(bottom - top, 1)};
}

void Overview::add(const PatchRecord& record, const Raster& raster) {
  ++patches_[static_cast<size_t>(record.split)];
  if (record.source >= std::ssize(panels_)) return;
  Panel& panel = panels_[static_cast<size_t>(record.source)];
  panel.patches.push_back(record);
  const Window area =
      intersection(panel.cells(record.window), {0, 0, panel.shape.w, panel.shape.h});
  for (int64_t y = area.y; y < area.y + area.height; ++y)
    for (int64_t x = area.x; x < area.x + area.width; ++x)
      panel.splits[static_cast<size_t>(y * panel.shape.w + x)] |=
          static_cast<uint8_t>(1U << static_cast<unsigned>(record.split));
  const auto valid = raster.valid.span<uint8_t>();
  const auto channels = static_cast<size_t>(raster.image.shape().c);
  with_pixel_type(raster.image.dtype(), [&]<class T>(T) {
    const auto samples = raster.image.span<T>();
    for (size_t i = 0; i < valid.size(); ++i) {
      if (valid[i] == 0) continue;
      const int64_t x = record.window.x + static_cast<int64_t>(i) % record.window.width;
      const int64_t y = record.window.y + static_cast<int64_t>(i) / record.window.width;
      const auto cell = static_cast<size_t>(y * panel.shape.h / panel.grid.height * panel.shape.w +
                                            x * panel.shape.w / panel.grid.width);
      ++panel.counts[cell];
      for (const int band : bands_)
        panel.sums[cell] += static_cast<double>(samples[i * channels + static_cast<size_t>(band)]);
    }
  });
}

// How many times patches cover the ground that they cover.
double Overview::Panel::overlap() const {
  double area = 0;
  for (const PatchRecord& p : patches) {
    const Window w = cells(p.window);
    area += static_cast<double>(w.width * w.height);
  }
  const auto covered = std::ranges::count_if(splits, [](uint8_t s) { return s != 0; });
  return covered == 0 ? 0 : area / static_cast<double>(covered);
}

// Stretched between the 2nd and the 98th percentile of the cells, and light, for colours to show.
Tensor Overview::Panel::grey() const {
  constexpr double darkest = 70;
  std::vector<double> means;
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > 0) means.push_back(sums[i] / static_cast<double>(counts[i]));
  std::ranges::sort(means);
  Tensor picture(shape, DType::u8);
  if (means.empty()) return picture;
  const double low = means[means.size() / 50], high = means[means.size() - 1 - means.size() / 50];
  const auto to = picture.span<uint8_t>();
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    const double mean = sums[i] / static_cast<double>(counts[i]);
    const double bright = std::clamp((mean - low) / std::max(high - low, 1e-12), 0.0, 1.0);
    std::fill_n(to.begin() + static_cast<std::ptrdiff_t>(rgba * i), 3,
                static_cast<uint8_t>(std::lround(darkest + (255 - darkest) * std::sqrt(bright))));
    to[rgba * i + 3] = 255;
  }
  return picture;
}

int64_t Overview::width() const {
  constexpr int64_t narrowest = 300;
  int64_t widest = narrowest;
  for (const Panel& panel : panels_) widest = std::max(widest, panel.shape.w);
  return widest;
}

void Overview::draw_panel(Canvas& canvas, const Panel& panel, int64_t x, int64_t y) const {
  constexpr double tint = 0.35, crowded = 1.5;
  canvas.text(x, y, fitted(panel.title, width()), dim);
  y += line_height;
  canvas.draw(panel.grey(), x, y);
  for (int64_t i = 0; i < panel.shape.pixels(); ++i)
    for (size_t s = 0; s < split_colors.size(); ++s)
      if ((panel.splits[static_cast<size_t>(i)] >> s & 1U) != 0)
        canvas.fill({x + i % panel.shape.w, y + i / panel.shape.w, 1, 1}, split_colors[s], tint);
  const double outline = panel.overlap() > crowded ? 0.25 : 0.9;
  for (const PatchRecord& p : panel.patches) {
    const Window area = panel.cells(p.window);
    canvas.frame({x + area.x, y + area.y, area.width, area.height},
                 split_colors[static_cast<size_t>(p.split)], 1, outline);
  }
  canvas.frame({x - 1, y - 1, panel.shape.w + 2, panel.shape.h + 2}, rule);
}

Tensor Overview::picture() const {
  const int64_t across = width() + margin;
  const int64_t rows = (std::ssize(panels_) + columns_ - 1) / columns_;
  std::vector<int64_t> heights(static_cast<size_t>(rows));
  for (size_t i = 0; i < panels_.size(); ++i) {
    int64_t& height = heights[i / static_cast<size_t>(columns_)];
    height = std::max(height, panels_[i].shape.h + line_height + margin);
  }
  const int64_t more = sources_ - std::ssize(panels_), top = 2 * margin + line_height;
  const int64_t last = more > 0 ? line_height + margin : 0;
  constexpr int64_t narrowest = 640;  // for the legend
  Canvas canvas(std::max(margin + across * columns_, narrowest),
                top + std::accumulate(heights.begin(), heights.end(), int64_t{0}) + last);
  draw_legend(canvas, patches_);
  int64_t y = top;
  for (size_t i = 0; i < panels_.size(); ++i) {
    const auto column = static_cast<int64_t>(i) % columns_;
    draw_panel(canvas, panels_[i], margin + across * column, y);
    if (column + 1 == columns_) y += heights[i / static_cast<size_t>(columns_)];
  }
  if (more > 0)
    canvas.text(margin, canvas.height() - margin - line_height, str("and ", more, " more scenes"),
                dim);
  return canvas.picture().clone();
}

}  // namespace unetd::io
