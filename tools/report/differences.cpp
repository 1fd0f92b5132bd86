#include "tools/report/differences.h"

#include "engine/base/error.h"
#include "io/picture.h"
#include "tools/report/html.h"
#include "tools/report/values.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

namespace unetd::report {
namespace {

constexpr int64_t longest = 900;

// The smallest window that holds both.
io::Window around(const io::Window& a, const io::Window& b) {
  io::Window all{std::min(a.x, b.x), std::min(a.y, b.y)};
  all.width = std::max(a.x + a.width, b.x + b.width) - all.x;
  all.height = std::max(a.y + a.height, b.y + b.height) - all.y;
  return all;
}

}  // namespace

std::vector<float> differences(std::span<const uint8_t> truth,
                               std::span<const uint8_t> prediction) {
  UNETD_CHECK(truth.size() == prediction.size(), truth.size(), " labels, ", prediction.size(),
              " classes");
  std::vector<float> result(truth.size());
  for (size_t i = 0; i < truth.size(); ++i) {
    const bool known = truth[i] != io::ignore_label;
    result[i] = known ? static_cast<float>(truth[i] != prediction[i])
                      : std::numeric_limits<float>::quiet_NaN();
  }
  return result;
}

std::vector<float> differences(std::span<const float> truth, std::span<const float> prediction) {
  UNETD_CHECK(truth.size() == prediction.size(), truth.size(), " targets, ", prediction.size(),
              " values");
  std::vector<float> result(truth.size());
  for (size_t i = 0; i < truth.size(); ++i) result[i] = prediction[i] - truth[i];
  return result;
}

std::vector<float> differences(const Tensor& truth, const Tensor& prediction) {
  return truth.dtype() == DType::f32
             ? differences(truth.span<float>(), prediction.span<float>())
             : differences(truth.span<uint8_t>(), prediction.span<uint8_t>());
}

Painter class_painter() {
  return [](double share) {
    const auto& [agree, differ] = io::difference_colors;
    std::array<uint8_t, 3> color{};
    for (size_t c = 0; c < color.size(); ++c)
      color[c] = static_cast<uint8_t>(std::lround(agree[c] + share * (differ[c] - agree[c])));
    return color;
  };
}

DifferenceMap::DifferenceMap(const io::Window& area)
    : area_(area),
      step_((std::max(area.width, area.height) + longest - 1) / longest),
      columns_((area.width + step_ - 1) / step_),
      rows_((area.height + step_ - 1) / step_),
      squares_(static_cast<size_t>(columns_ * rows_)) {}

void DifferenceMap::add(const io::Window& window, std::span<const float> differences) {
  UNETD_CHECK(std::ssize(differences) == window.width * window.height, differences.size(),
              " differences in ", window);
  size_t i = 0;
  for (int64_t y = window.y - area_.y; y < window.y - area_.y + window.height; ++y) {
    for (int64_t x = window.x - area_.x; x < window.x - area_.x + window.width; ++x, ++i) {
      const bool inside = x >= 0 && y >= 0 && x < area_.width && y < area_.height;
      if (!inside || std::isnan(differences[i])) continue;
      Square& square = squares_[static_cast<size_t>(y / step_ * columns_ + x / step_)];
      ++square.pixels;
      square.sum += differences[i];
    }
  }
}

Tensor DifferenceMap::picture(const Painter& painter) const {
  Tensor picture({1, rows_, columns_, 4}, DType::u8);
  uint8_t* to = picture.span<uint8_t>().data();
  std::fill_n(to, 4 * squares_.size(), uint8_t{0});
  for (const Square& square : squares_) {
    if (square.pixels > 0) {
      std::ranges::copy(painter(square.sum / static_cast<double>(square.pixels)), to);
      to[3] = 255;
    }
    to += 4;
  }
  return picture;
}

double DifferenceMap::mean() const {
  double pixels = 0, sum = 0;
  for (const Square& square : squares_) {
    pixels += static_cast<double>(square.pixels);
    sum += square.sum;
  }
  return pixels > 0 ? sum / pixels : std::numeric_limits<double>::quiet_NaN();
}

std::vector<SceneDifference> scene_differences(
    const io::PatchStore& store, io::Split split,
    const std::function<Tensor(const io::Raster&)>& predict,
    const std::function<void(int64_t done)>& progress) {
  const io::StoreSchema& schema = store.schema();
  std::map<int64_t, io::Window> areas;  // by source
  for (const int64_t i : store.indices(split)) {
    const io::PatchRecord& patch = schema.patches[static_cast<size_t>(i)];
    const auto [at, added] = areas.emplace(patch.source, patch.window);
    if (!added) at->second = around(at->second, patch.window);
  }
  std::map<int64_t, size_t> places;
  std::vector<SceneDifference> all;
  for (const auto& [source, area] : areas) {
    places[source] = all.size();
    const std::filesystem::path scene = schema.sources[static_cast<size_t>(source)].scene;
    all.push_back({scene.filename().string(), DifferenceMap(area)});
  }
  int64_t done = 0;
  for (const int64_t i : store.indices(split)) {
    const io::PatchRecord& patch = schema.patches[static_cast<size_t>(i)];
    all[places.at(patch.source)].map.add(patch.window,
                                         differences(store.labels(i), predict(store.raster(i))));
    progress(++done);
  }
  return all;
}

std::string differences_section(const std::vector<SceneDifference>& differences,
                                const io::Target* target) {
  if (differences.empty()) return "";
  const auto& [agree, differ] = io::difference_colors;
  const Painter painter = target == nullptr ? class_painter() : error_painter(shown_range(*target));
  std::string out = target == nullptr ? "<p class=\"legend\"><span>" + swatch(html_color(agree)) +
                                            "map and labels agree</span><span>" +
                                            swatch(html_color(differ)) + "they differ</span></p>\n"
                                      : value_legend(*target);
  out += "<div class=\"maps\">";
  for (const auto& [scene, map] : differences) {
    const std::string said = target == nullptr ? percent(map.mean()) + " differ"
                                               : "mean error " + significant(map.mean());
    out += str("<figure>", image(map.picture(painter), "differences in " + scene), "<figcaption>",
               escaped(scene), ": ", said, "</figcaption></figure>");
  }
  return section("Differences", out + "</div>\n");
}

}  // namespace unetd::report
