#include "tools/report/chart.h"

#include "engine/base/ticks.h"
#include "tools/report/html.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace unetd::report {
namespace {

constexpr double width = 480, height = 270, left = 58, right = 12, top = 10, bottom = 28;

// One number for every so many points, so that a page of a long run stays small: what is thinner
// than a pixel cannot be seen.
Points thinned(const Points& points) {
  constexpr size_t most = 600;
  const size_t group = (points.size() + most - 1) / most;
  if (group <= 1) return points;
  Points out;
  for (size_t i = 0; i < points.size(); i += group) {
    const size_t end = std::min(i + group, points.size());
    double x = 0, y = 0;
    for (size_t k = i; k < end; ++k) x += points[k].first, y += points[k].second;
    const auto n = static_cast<double>(end - i);
    out.emplace_back(x / n, y / n);
  }
  return out;
}

struct Axis {
  double low = 0, high = 1;
  bool logarithmic = false;
  std::vector<double> ticks;

  // 0 at the low end, 1 at the high one.
  double place(double v) const {
    return logarithmic ? std::log(v / low) / std::log(high / low) : (v - low) / (high - low);
  }
};

// Ticks at round numbers; with `widen` the axis ends at ticks, too.
Axis linear_axis(double low, double high, bool widen) {
  if (!(high > low)) high = low + std::max(std::abs(low), 1.0) * 1e-3;
  constexpr double about = 5;
  const double step = round_up((high - low) / about);
  Axis axis{low, high};
  if (widen) axis.low = std::floor(low / step) * step, axis.high = std::ceil(high / step) * step;
  axis.ticks = ticks(axis.low, axis.high, step);
  return axis;
}

// From one of 1, 2, 5 times a power of ten to another; ticks at these, or at powers of ten alone
// where that would be many. A short axis has the ends and ticks of a linear one.
Axis logarithmic_axis(double low, double high) {
  constexpr size_t most = 8;
  constexpr double shortest = 5;
  if (Axis axis = linear_axis(low, high, true); high / low < shortest && axis.low > 0) {
    axis.logarithmic = true;
    return axis;
  }
  Axis axis{1 / round_up(1 / low), round_up(high), true};
  if (!(axis.high > axis.low)) axis.high = round_up(axis.low * 1.5);
  for (const bool decades : {false, true}) {
    axis.ticks.clear();
    for (double t = axis.low; t <= axis.high * (1 + 1e-9); t = round_up(t * 1.5)) {
      const double exponent = std::log10(t);
      const bool decade = std::abs(exponent - std::round(exponent)) < 1e-6;
      if (decade || !decades) axis.ticks.push_back(t);
    }
    if (axis.ticks.size() <= most) break;
  }
  return axis;
}

std::string number(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", x);
  return text;
}

std::string attribute(const char* name, double value) {
  return std::string(" ") + name + "=\"" + fixed(value, 1) + "\"";
}

// Where values lie in the picture.
struct Frame {
  Axis x, y;
  double px(double v) const { return left + x.place(v) * (width - left - right); }
  double py(double v) const { return height - bottom - y.place(v) * (height - top - bottom); }
};

std::string grid(const Frame& frame) {
  std::string out;
  for (const double y : frame.y.ticks) {
    const double at = frame.py(y);
    out += "<line class=\"grid\"" + attribute("x1", left) + attribute("x2", width - right) +
           attribute("y1", at) + attribute("y2", at) + "/><text text-anchor=\"end\"" +
           attribute("x", left - 6) + attribute("y", at + 4) + ">" + number(y) + "</text>";
  }
  for (const double x : frame.x.ticks) {
    out += "<text text-anchor=\"middle\"" + attribute("x", std::min(frame.px(x), width - 18)) +
           attribute("y", height - 8) + ">" + number(x) + "</text>";
  }
  return out;
}

std::string drawn(const Curve& curve, const Frame& frame) {
  constexpr size_t few = 40;  // points of which each is shown
  std::string out = "<polyline class=\"line\" stroke=\"" + escaped(curve.color) + "\" points=\"";
  for (const auto& [x, y] : curve.points) {
    out += fixed(frame.px(x), 1) + "," + fixed(frame.py(y), 1) + " ";
  }
  out += "\"/>";
  if (curve.points.size() > few) return out;
  for (const auto& [x, y] : curve.points) {
    out += "<circle r=\"2.5\" fill=\"" + escaped(curve.color) + "\"" +
           attribute("cx", frame.px(x)) + attribute("cy", frame.py(y)) + "/>";
  }
  return out;
}

}  // namespace

std::string line_chart(const std::string& title, const std::vector<Curve>& curves, double x_end,
                       bool logarithmic) {
  std::vector<Curve> shown;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const Curve& curve : curves) {
    Points points = curve.points;
    std::erase_if(points, [&](const auto& p) {
      return !std::isfinite(p.second) || (logarithmic && !(p.second > 0));
    });
    if (points.empty()) continue;
    shown.push_back({curve.name, curve.color, thinned(points)});
    for (const auto& [x, y] : shown.back().points) {
      low = std::min(low, y), high = std::max(high, y);
    }
  }
  if (shown.empty()) return "";
  const Frame frame{linear_axis(0, x_end, /*widen=*/false),
                    logarithmic ? logarithmic_axis(low, high) : linear_axis(low, high, true)};
  std::string out = "<figure><figcaption>" + escaped(title) +
                    "</figcaption><svg role=\"img\" aria-label=\"" + escaped(title) +
                    "\" viewBox=\"0 0 " + number(width) + " " + number(height) + "\">" +
                    grid(frame);
  for (const Curve& curve : shown) out += drawn(curve, frame);
  out += "</svg><p class=\"legend\">";
  for (const Curve& curve : shown) {
    out += "<span>" + swatch(curve.color) + escaped(curve.name) + "</span>";
  }
  return out + "</p></figure>\n";
}

}  // namespace unetd::report
