#include "io/labels.h"

#include "engine/base/error.h"
#include "io/gdal.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

namespace unetd::io {
namespace {

bool is_color(const std::string& text) {
  return text.size() == 7 && text[0] == '#' &&
         std::all_of(text.begin() + 1, text.end(),
                     [](unsigned char c) { return std::isxdigit(c); });
}

}  // namespace

LabelMapper::LabelMapper(const ClassMap& map, std::optional<double> nodata) {
  if (nodata) index_[*nodata] = ignore_label;
  nan_is_nodata_ = nodata && std::isnan(*nodata);
  for (const int64_t value : map.ignore) index_[static_cast<double>(value)] = ignore_label;
  for (const auto& [value, cls] : map.further) index_[static_cast<double>(value)] = cls;
  for (size_t i = 0; i < map.classes.size(); ++i)
    index_[static_cast<double>(map.classes[i].value)] = static_cast<uint8_t>(i);
}

uint8_t LabelMapper::operator()(double raw) {
  if (raw == last_) return last_index_;
  const auto at = index_.find(raw);
  if (at == index_.end()) {
    if (!(nan_is_nodata_ && std::isnan(raw))) count_unknown(raw);
    return ignore_label;
  }
  last_ = raw;
  return last_index_ = at->second;
}

void LabelMapper::throw_if_unknown(const std::filesystem::path& path) const {
  if (unknown_.empty()) return;
  std::string list;
  for (const auto& [value, pixels] : unknown_)
    list += str(list.empty() ? "" : ", ", value, " (", pixels, " pixels)");
  throw UserError(str(path.string(), " holds values that no class has: ", list,
                      more_unknown_ ? " and more" : "",
                      "; add them to `classes`, or to `ignore` to leave them out"));
}

void LabelMapper::count_unknown(double raw) {
  constexpr size_t listed = 8;  // enough to see the kind of mistake, still one line
  const auto at = unknown_.find(raw);
  if (at != unknown_.end())
    ++at->second;
  else if (unknown_.size() < listed)
    unknown_.emplace(raw, 1);
  else
    more_unknown_ = true;
}

std::array<uint8_t, 3> rgb(const std::string& color) {
  const auto part = [&](size_t at) {
    return static_cast<uint8_t>(std::stoi(color.substr(at, 2), nullptr, 16));
  };
  return {part(1), part(3), part(5)};
}

void check(const ClassMap& map) {
  if (map.classes.empty() || map.classes.size() > ignore_label)
    throw UsageError(str("`classes` lists ", map.classes.size(), " classes: give 1 to 255"));
  std::set<int64_t> values(map.ignore.begin(), map.ignore.end());
  for (const auto& [value, cls] : map.further) {
    if (!values.insert(value).second)
      throw UsageError(str("value ", value, " is listed twice in `classes` or also in `ignore`"));
    UNETD_CHECK(cls < map.classes.size(), "class ", static_cast<int>(cls));
  }
  std::set<std::string> names;
  for (const ClassInfo& c : map.classes) {
    if (!values.insert(c.value).second)
      throw UsageError(str("value ", c.value, " of class '", c.name,
                           "' is listed twice in `classes` or also in `ignore`"));
    if (c.name.empty() || !names.insert(c.name).second)
      throw UsageError(
          str("class of value ", c.value, ": its name '", c.name, "' is empty or used twice"));
    if (!is_color(c.color))
      throw UsageError(str("class '", c.name, "': color '", c.color, "' is not like #1f77b4"));
  }
}

Dataset open_on_grid(const std::filesystem::path& path, const Grid& scene,
                     const std::string& what) {
  Dataset file = Dataset::open(path);
  const std::string difference = grid_difference(scene, file.grid());
  if (!difference.empty())
    throw UserError(
        str(what, "s ", path.string(), " are not on the scene's grid: ", difference,
            " (scene: ", describe(scene), "; ", what, "s: ", describe(file.grid()),
            "); bring them there with: ", warp_command(scene, file.grid(), path.string())));
  if (file.bands().size() != 1)
    throw UserError(str(what, "s ", path.string(), " have ", file.bands().size(), " bands: a ",
                        what, " raster has one (gdal_translate -b 1)"));
  return file;
}

Tensor read_labels(const std::filesystem::path& path, const Grid& scene, const ClassMap& map,
                   const Share& share) {
  const Dataset file = open_on_grid(path, scene, "label");
  Tensor labels({1, scene.height, scene.width, 1}, DType::u8);
  uint8_t* out = labels.span<uint8_t>().data();
  LabelMapper mapper(map, file.bands()[0].nodata);
  std::vector<double> strip;
  for_strips(scene, share, [&](const Window& rows) {
    strip.resize(static_cast<size_t>(rows.width * rows.height));
    const int first_band = 0;
    file.read(rows, {&first_band, 1}, DType::f64, strip.data());
    for (const double raw : strip) *out++ = mapper(raw);
  });
  mapper.throw_if_unknown(path);
  return labels;
}

}  // namespace unetd::io
