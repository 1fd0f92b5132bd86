#include "tools/report/differences.h"

#include "engine/base/error.h"
#include "io/picture.h"
#include "tools/report/html.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>

namespace unetd::report {
namespace {

constexpr int64_t longest = 900;

std::string hexadecimal(const std::array<uint8_t, 3>& colour) {
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", colour[0], colour[1], colour[2]);
  return text;
}

// The smallest window that holds both.
io::Window around(const io::Window& a, const io::Window& b) {
  io::Window all{std::min(a.x, b.x), std::min(a.y, b.y)};
  all.width = std::max(a.x + a.width, b.x + b.width) - all.x;
  all.height = std::max(a.y + a.height, b.y + b.height) - all.y;
  return all;
}

}  // namespace

DifferenceMap::DifferenceMap(const io::Window& area)
    : area_(area),
      step_((std::max(area.width, area.height) + longest - 1) / longest),
      columns_((area.width + step_ - 1) / step_),
      rows_((area.height + step_ - 1) / step_),
      squares_(static_cast<size_t>(columns_ * rows_)) {}

void DifferenceMap::add(const io::Window& window, std::span<const uint8_t> truth,
                        std::span<const uint8_t> prediction) {
  const auto pixels = static_cast<size_t>(window.width * window.height);
  UNETD_CHECK(truth.size() == pixels && prediction.size() == pixels, truth.size(), " labels and ",
              prediction.size(), " classes of ", pixels, " pixels");
  size_t i = 0;
  for (int64_t y = window.y - area_.y; y < window.y - area_.y + window.height; ++y) {
    for (int64_t x = window.x - area_.x; x < window.x - area_.x + window.width; ++x, ++i) {
      const bool inside = x >= 0 && y >= 0 && x < area_.width && y < area_.height;
      if (!inside || truth[i] == io::ignore_label) continue;
      Square& square = squares_[static_cast<size_t>(y / step_ * columns_ + x / step_)];
      ++square.labelled;
      square.differing += truth[i] == prediction[i] ? 0 : 1;
    }
  }
}

Tensor DifferenceMap::picture() const {
  Tensor picture({1, rows_, columns_, 4}, DType::u8);
  uint8_t* to = picture.span<uint8_t>().data();
  std::fill_n(to, 4 * squares_.size(), uint8_t{0});
  const auto& [agree, differ] = io::difference_colors;
  for (const Square& square : squares_) {
    if (square.labelled > 0) {
      const double share =
          static_cast<double>(square.differing) / static_cast<double>(square.labelled);
      for (size_t c = 0; c < 3; ++c)
        to[c] = static_cast<uint8_t>(std::lround(agree[c] + share * (differ[c] - agree[c])));
      to[3] = 255;
    }
    to += 4;
  }
  return picture;
}

double DifferenceMap::differing() const {
  double labelled = 0, differing = 0;
  for (const Square& square : squares_) {
    labelled += static_cast<double>(square.labelled);
    differing += static_cast<double>(square.differing);
  }
  return labelled > 0 ? differing / labelled : std::numeric_limits<double>::quiet_NaN();
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
    const Tensor truth = store.labels(i), prediction = predict(store.raster(i));
    all[places.at(patch.source)].map.add(patch.window, truth.span<uint8_t>(),
                                         prediction.span<uint8_t>());
    progress(++done);
  }
  return all;
}

std::string differences_section(const std::vector<SceneDifference>& differences) {
  if (differences.empty()) return "";
  const auto& [agree, differ] = io::difference_colors;
  std::string out = "<p class=\"legend\"><span>" + swatch(hexadecimal(agree)) +
                    "map and labels agree</span><span>" + swatch(hexadecimal(differ)) +
                    "they differ</span></p>\n<div class=\"maps\">";
  for (const auto& [scene, map] : differences) {
    out += "<figure>" + image(map.picture(), "differences in " + scene) + "<figcaption>" +
           escaped(scene) + ": " + percent(map.differing()) + " differ</figcaption></figure>";
  }
  return section("Differences", out + "</div>\n");
}

}  // namespace unetd::report
