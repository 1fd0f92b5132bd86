#include "tools/report/values.h"

#include "engine/base/error.h"
#include "io/picture.h"
#include "io/ramp.h"
#include "tools/report/html.h"
#include "tools/report/sections.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

namespace unetd::report {
namespace {

using nlohmann::ordered_json;

// A bar of colours between two numbers.
template <class Color>
std::string ramp_bar(const std::string& low, const std::string& high, const Color& color) {
  constexpr int stops = 16;
  std::string gradient;
  for (int i = 0; i <= stops; ++i)
    gradient += (i == 0 ? "" : ",") + html_color(color(static_cast<double>(i) / stops));
  return "<span>" + low + " <i class=\"ramp\" style=\"background:linear-gradient(90deg," +
         gradient + ")\"></i> " + high + "</span>";
}

std::string with_unit(double x, const io::Target& target) {
  return significant(x) + (target.unit.empty() ? "" : " " + escaped(target.unit));
}

}  // namespace

ValueRange shown_range(const io::Target& t) {
  constexpr double reach = 2.5;
  const double spread = t.stddev > 0 ? t.stddev : 1;
  const double low = std::max(t.min, t.mean - reach * spread),
               high = std::min(t.max, t.mean + reach * spread);
  return {low, high > low ? high : low + spread, spread};
}

Tensor value_picture(std::span<const float> values, std::span<const float> targets,
                     const ValueRange& range) {
  return io::painted_picture(targets.size(), [&](size_t i) -> io::Color {
    if (std::isnan(targets[i])) return std::nullopt;
    return io::ramp_color((values[i] - range.low) / (range.high - range.low));
  });
}

Tensor error_picture(std::span<const float> values, std::span<const float> targets,
                     const ValueRange& range) {
  const Painter painter = error_painter(range);
  return io::painted_picture(targets.size(), [&](size_t i) -> io::Color {
    if (std::isnan(targets[i])) return std::nullopt;
    return painter(values[i] - targets[i]);
  });
}

Painter error_painter(const ValueRange& range) {
  return [error = range.error](double mean) { return io::difference_color(mean / error); };
}

std::string value_legend(const io::Target& target) {
  const ValueRange range = shown_range(target);
  return "<p class=\"legend\">" +
         ramp_bar(significant(range.low), with_unit(range.high, target), io::ramp_color) +
         ramp_bar("error " + significant(-range.error), with_unit(range.error, target),
                  [](double x) { return io::difference_color(2 * x - 1); }) +
         "</p>\n";
}

std::string value_scores_section(const std::string& title, const ordered_json& scores,
                                 const io::Target& target) {
  const auto score = [&](const char* key) {
    return scores[key].is_number() ? scores[key].get<double>() : std::nan("");
  };
  Table table({"score", "value", "what it is"});
  const auto row = [&](const char* name, const std::string& value, const char* what) {
    table.add({name, value, what});
  };
  row("RMSE", with_unit(score("rmse"), target), "root of the mean squared error");
  row("MAE", with_unit(score("mae"), target), "mean absolute error");
  row("bias", with_unit(score("bias"), target), "mean error");
  row("R&sup2;", fixed(score("r2"), 4), "share of the targets' variance that is explained");
  row("mass error", percent(score("mass_error")), "what the images' totals are off by");
  row("targets",
      with_unit(score("target_mean"), target) + " &plusmn; " +
          significant(score("target_deviation")),
      "mean and standard deviation");
  row("pixels", grouped(scores["pixels"]), "with a target");
  return section(title, table.html());
}

std::string target_section(const io::StoreSchema& schema) {
  const io::Target& t = *schema.target;
  Table splits({"split", "patches", "pixels with a target", "without"});
  for (size_t split = 0; split < schema.class_pixels.size(); ++split) {
    const int64_t patches = std::ranges::count_if(schema.patches, [&](const io::PatchRecord& p) {
      return p.split == static_cast<io::Split>(split);
    });
    if (patches == 0) continue;
    const std::vector<int64_t>& pixels = schema.class_pixels[split];
    splits.add({io::split_names[split], grouped(patches), grouped(pixels.front()),
                grouped(pixels.back())});
  }
  Table spread({"target", "min", "mean", "max", "standard deviation"});
  spread.add({escaped(t.name), significant(t.min), significant(t.mean), significant(t.max),
              with_unit(t.stddev, t)});
  return section("Targets", "<p class=\"dim\">Of the pixels of training patches:</p>" +
                                spread.html() + splits.html());
}

}  // namespace unetd::report
