#include "io/tile_plan.h"

#include "engine/base/error.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

namespace unetd::io {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t multiple) { return ceil_div(a, multiple) * multiple; }

void check_arguments(int64_t width, int64_t height, int64_t tile, int64_t stride) {
  UNETD_CHECK(width > 0 && height > 0, "scene of ", width, "x", height, " pixels");
  if (tile < 1 || stride < 1)
    throw UsageError(str("tile ", tile, " with stride ", stride, ": both must be at least 1"));
}

std::vector<TileSpan> exact_axis(int64_t extent, int64_t tile, int64_t halo, int64_t stride) {
  // Cores are cut at multiples of the stride plus the margin, so origins stay aligned.
  const int64_t margin = round_up(halo, stride), inner = extent - 2 * margin;
  const int64_t largest_core = round_up(tile, stride);
  if (inner <= largest_core) return {{0, extent, 0, extent, {}}};

  const int64_t n = ceil_div(inner, largest_core);
  const int64_t core = round_up(ceil_div(inner, n), stride), size = core + 2 * margin;
  std::vector<TileSpan> spans;
  for (int64_t i = 0; i < n; ++i)
    spans.push_back({i * core, i * core + size, i * core + margin, (i + 1) * core + margin, {}});
  spans.front().write_begin = 0;
  TileSpan& last = spans.back();
  last.read_end = last.write_end = extent;
  // An aligned scene lets the last window move back to the size of the others: no second session.
  if (extent % stride == 0) last.read_begin = extent - size;
  return spans;
}

// The window's value at `t` in (0, 1) along the tile; 1 in the middle, positive everywhere.
double window_value(BlendWindow window, double t) {
  switch (window) {
    case BlendWindow::hann:
      return std::pow(std::sin(std::numbers::pi * t), 2);
    case BlendWindow::triangular:
      return 1 - std::abs(2 * t - 1);
    case BlendWindow::gaussian:
      return std::exp(-0.5 * std::pow((t - 0.5) / 0.125, 2));  // sigma: an eighth of the tile
  }
  throw Error("unknown blend window");
}

// Weights before normalisation. Where the scene ends no neighbour takes over, so none is faded out.
std::vector<float> raw_weights(const TileSpan& s, int64_t extent, BlendWindow window) {
  std::vector<float> weights;
  for (int64_t x = s.write_begin; x < s.write_end; ++x) {
    double t = (static_cast<double>(x - s.read_begin) + 0.5) / static_cast<double>(s.read_size());
    if ((t < 0.5 && s.read_begin == 0) || (t > 0.5 && s.read_end >= extent)) t = 0.5;
    weights.push_back(static_cast<float>(window_value(window, t)));
  }
  return weights;
}

// Tiles form a grid and weights are products, so the sum over all tiles at a pixel is the product
// of the sums along the axes: each axis is normalised alone and stitching needs no array of
// weights.
void normalise(std::vector<TileSpan>& spans, int64_t extent) {
  std::vector<double> sums(static_cast<size_t>(extent), 0.0);
  const auto each_weight = [&](auto&& body) {
    for (TileSpan& s : spans)
      for (size_t i = 0; i < s.weights.size(); ++i)
        body(s.weights[i], sums[static_cast<size_t>(s.write_begin) + i]);
  };
  each_weight([](float w, double& sum) { sum += w; });
  const auto gap = std::find_if(sums.begin(), sums.end(), [](double sum) { return !(sum > 0); });
  UNETD_CHECK(gap == sums.end(), "pixel ", gap - sums.begin(), " of ", extent, " is in no tile");
  each_weight([](float& w, double sum) { w = static_cast<float>(w / sum); });
}

std::vector<TileSpan> blend_axis(int64_t extent, int64_t tile, double overlap, int64_t stride,
                                 BlendWindow window) {
  const int64_t size = std::min(round_up(tile, stride), round_up(extent, stride));
  const int64_t travel = std::max<int64_t>(extent - size, 0);
  const double shared = static_cast<double>(size) * overlap;
  const int64_t step = std::max<int64_t>(size - static_cast<int64_t>(std::ceil(shared)), 1);
  const int64_t gaps = ceil_div(travel, step);
  std::vector<TileSpan> spans;
  for (int64_t i = 0; i <= gaps; ++i) {
    const int64_t begin = gaps == 0 ? 0 : travel * i / gaps;
    TileSpan s{begin, begin + size, begin, std::min(begin + size, extent), {}};
    s.weights = raw_weights(s, extent, window);
    spans.push_back(std::move(s));
  }
  normalise(spans, extent);
  return spans;
}

}  // namespace

const TileSpan& TilePlan::column(int64_t tile) const {
  return columns.at(static_cast<size_t>(tile) % columns.size());
}

const TileSpan& TilePlan::row(int64_t tile) const {
  return rows.at(static_cast<size_t>(tile) / columns.size());
}

Window TilePlan::read_window(int64_t tile) const {
  const TileSpan &x = column(tile), &y = row(tile);
  return {x.read_begin, y.read_begin, x.read_size(), y.read_size()};
}

Window TilePlan::write_window(int64_t tile) const {
  const TileSpan &x = column(tile), &y = row(tile);
  return {x.write_begin, y.write_begin, x.write_size(), y.write_size()};
}

TilePlan plan_exact(int64_t width, int64_t height, int64_t tile, int64_t halo, int64_t stride) {
  check_arguments(width, height, tile, stride);
  if (halo < 0) throw UsageError(str("halo ", halo, ": must not be negative"));
  return {exact_axis(width, tile, halo, stride), exact_axis(height, tile, halo, stride)};
}

TilePlan with_surroundings(TilePlan plan, const Surroundings& around) {
  for (std::vector<TileSpan>* const axis : {&plan.columns, &plan.rows}) {
    for (TileSpan& s : *axis) {
      const int64_t size = around.side(round_up(s.read_size(), around.stride));
      s.read_begin -= around.margin;
      s.read_end = s.read_begin + size;
    }
  }
  plan.mirrored = true;
  return plan;
}

BlendWindow parse_blend_window(std::string_view name) {
  if (name == "hann") return BlendWindow::hann;
  if (name == "triangular") return BlendWindow::triangular;
  if (name == "gaussian") return BlendWindow::gaussian;
  throw UsageError(str("unknown blend window '", name, "': use hann, triangular or gaussian"));
}

TilePlan plan_blend(int64_t width, int64_t height, int64_t tile, double overlap, int64_t stride,
                    BlendWindow window) {
  check_arguments(width, height, tile, stride);
  if (!(overlap >= 0 && overlap <= 0.9))
    throw UsageError(str("overlap ", overlap, ": must be a fraction from 0 to 0.9"));
  return {blend_axis(width, tile, overlap, stride, window),
          blend_axis(height, tile, overlap, stride, window)};
}

}  // namespace unetd::io
