#include "io/patch_store_json.h"

#include "engine/base/error.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

namespace unetd::io {
namespace {

// Keys in the order they are written, for readers of the file.
using json = nlohmann::ordered_json;

constexpr int version_of_classes = 3, version_of_targets = 4;
constexpr DType sample_types[] = {DType::u8, DType::u16, DType::i16, DType::f32};

DType parse_sample_type(const std::string& name) {
  for (const DType t : sample_types)
    if (name == unetd::name_of(t)) return t;
  throw Error(str("unknown sample type '", name, "'"));
}

// JSON has no NaN, which is a common nodata value.
json number_json(double value) { return std::isnan(value) ? json("nan") : json(value); }
double number_from(const json& j) { return j.is_string() ? NAN : j.get<double>(); }

json bands_json(const StoreSchema& s) {
  json bands = json::array();
  for (size_t i = 0; i < s.bands.size(); ++i) {
    const SceneBand& band = s.bands[i];
    json entry = {{"name", band.name}, {"scale", band.scale}, {"offset", band.offset}};
    if (band.nodata) entry["nodata"] = number_json(*band.nodata);
    if (band.saturated) entry["saturated"] = *band.saturated;
    const BandStatistics& t = s.statistics[i];
    entry["statistics"] = {{"count", t.count},       {"pixels", t.pixels},
                           {"nodata", t.nodata},     {"saturated", t.saturated},
                           {"min", t.min},           {"max", t.max},
                           {"mean", t.mean},         {"stddev", t.stddev},
                           {"percents", t.percents}, {"percentiles", t.percentiles}};
    bands.push_back(entry);
  }
  return bands;
}

void read_bands(const json& bands, StoreSchema& s) {
  for (const json& entry : bands) {
    SceneBand band{entry.at("name"), {}, entry.at("scale"), entry.at("offset")};
    if (entry.contains("nodata")) band.nodata = number_from(entry.at("nodata"));
    if (entry.contains("saturated")) band.saturated = entry.at("saturated").get<double>();
    s.bands.push_back(band);
    const json& from = entry.at("statistics");
    BandStatistics t;
    t.count = from.at("count");
    t.pixels = from.value("pixels", t.count);  // the first stores did not say
    t.nodata = from.value("nodata", t.nodata);
    t.saturated = from.value("saturated", t.saturated);
    t.min = from.at("min");
    t.max = from.at("max");
    t.mean = from.at("mean");
    t.stddev = from.at("stddev");
    from.at("percentiles").get_to(t.percentiles);
    s.statistics.push_back(t);
  }
}

json source_json(const StoreSource& s) {
  json entry = {{"scene", s.scene},
                {"labels", s.labels},
                {"scene_bytes", s.scene_bytes},
                {"label_bytes", s.label_bytes},
                {"width", s.grid.width},
                {"height", s.grid.height}};
  if (s.grid.geotransform) entry["geotransform"] = *s.grid.geotransform;
  if (!s.grid.crs.empty()) entry["crs"] = s.grid.crs;
  if (!s.date.empty()) entry["date"] = s.date;
  return entry;
}

StoreSource read_source(const json& entry) {
  StoreSource s{entry.at("scene"), entry.at("labels"), entry.at("scene_bytes"),
                entry.at("label_bytes")};
  s.grid.width = entry.value("width", s.grid.width);  // the first stores did not say
  s.grid.height = entry.value("height", s.grid.height);
  s.grid.crs = entry.value("crs", s.grid.crs);
  s.date = entry.value("date", s.date);
  if (entry.contains("geotransform"))
    s.grid.geotransform = entry.at("geotransform").get<std::array<double, 6>>();
  return s;
}

// Where the file does not say how large a scene is, it is as large as its patches need.
void complete_grids(StoreSchema& s) {
  std::vector<bool> given;
  for (const StoreSource& source : s.sources)
    given.push_back(source.grid.width > 0 && source.grid.height > 0);
  for (const PatchRecord& p : s.patches) {
    const auto source = static_cast<size_t>(p.source);
    if (given[source]) continue;
    Grid& grid = s.sources[source].grid;
    grid.width = std::max(grid.width, p.window.x + p.window.width);
    grid.height = std::max(grid.height, p.window.y + p.window.height);
  }
}

json target_json(const Target& t) {
  return {{"name", t.name}, {"unit", t.unit}, {"count", t.count},  {"min", t.min},
          {"max", t.max},   {"mean", t.mean}, {"stddev", t.stddev}};
}

Target read_target(const json& from) {
  return {from.at("name"), from.at("unit"), from.at("count"), from.at("min"),
          from.at("max"),  from.at("mean"), from.at("stddev")};
}

// What the trainer divides by and subtracts must be numbers that can be of these pixels.
void check_target(const StoreSchema& s) {
  const Target& t = *s.target;
  if (s.classes.size() != 1 || s.classes[0].name != t.name || s.classes[0].value != 0)
    throw Error("its class is not its target");
  if (t.count != s.class_pixels[static_cast<size_t>(Split::train)][0])
    throw Error("the target's count is not that of the training pixels");
  const bool ordered = t.min <= t.mean && t.mean <= t.max && t.stddev >= 0;
  if (!ordered || !std::isfinite(t.max - t.min) || t.stddev > t.max - t.min)
    throw Error("the target's statistics contradict each other");
}

// Sums that a damaged file would break and that readers rely on.
void check_consistent(const StoreSchema& s) {
  const auto patches = std::ssize(s.patches);
  int64_t in_shards = 0;
  for (const ShardRecord& shard : s.shards) {
    // A name with a folder in it would leave the store.
    if (shard.patches <= 0 || std::filesystem::path(shard.file).filename() != shard.file)
      throw Error(str("shard '", shard.file, "' of ", shard.patches, " patches"));
    in_shards += shard.patches;
  }
  if (patches == 0 || in_shards != patches)
    throw Error(str("it lists ", patches, " patches and shards of ", in_shards));
  if (s.patch <= 0 || s.bands.empty() || s.classes.empty())
    throw Error("patch size, bands or classes are missing");
  for (const PatchRecord& p : s.patches)
    if (p.source < 0 || p.source >= std::ssize(s.sources)) throw Error("a patch has no source");
  for (const auto& counts : s.class_pixels)
    if (counts.size() != s.classes.size() + 1) throw Error("class counts do not fit the classes");
  if (s.target) check_target(s);
}

StoreSchema parse(const json& j) {
  StoreSchema s;
  s.patch = j.at("patch");
  s.dtype = parse_sample_type(j.at("dtype"));
  s.resampling = parse_resampling(j.at("resampling"));
  s.resolution = j.at("resolution");
  read_bands(j.at("bands"), s);
  for (const json& c : j.at("classes"))
    s.classes.push_back({c.at("value"), c.at("name"), c.at("color")});
  if (j.at("version") == version_of_targets) s.target = read_target(j.at("target"));
  for (const json& e : j.at("sources")) s.sources.push_back(read_source(e));
  for (size_t i = 0; i < split_names.size(); ++i)
    j.at("class_pixels").at(split_names[i]).get_to(s.class_pixels[i]);
  for (const json& e : j.at("shards")) s.shards.push_back({e.at("file"), e.at("patches")});
  for (const json& e : j.at("patches")) {
    s.patches.push_back({e.at(0), {e.at(1), e.at(2), s.patch, s.patch}, parse_split(e.at(3))});
    s.checksums.push_back(e.at(4));
  }
  check_consistent(s);
  complete_grids(s);
  return s;
}

}  // namespace

std::string to_json(const StoreSchema& s) {
  json j = {{"format", "unetd patch store"},
            {"version", s.target ? version_of_targets : version_of_classes},
            {"patch", s.patch}};
  j["dtype"] = std::string(unetd::name_of(s.dtype));
  j["resampling"] = name_of(s.resampling);
  j["resolution"] = s.resolution;
  j["bands"] = bands_json(s);
  j["classes"] = json::array();
  for (const ClassInfo& c : s.classes)
    j["classes"].push_back({{"value", c.value}, {"name", c.name}, {"color", c.color}});
  if (s.target) j["target"] = target_json(*s.target);
  j["sources"] = json::array();
  for (const StoreSource& e : s.sources) j["sources"].push_back(source_json(e));
  json splits = json::object();
  for (size_t i = 0; i < split_names.size(); ++i) {
    j["class_pixels"][split_names[i]] = s.class_pixels[i];
    splits[split_names[i]] = std::count_if(s.patches.begin(), s.patches.end(), [&](const auto& p) {
      return p.split == static_cast<Split>(i);
    });
  }
  j["splits"] = splits;
  j["shards"] = json::array();
  for (const ShardRecord& e : s.shards)
    j["shards"].push_back({{"file", e.file}, {"patches", e.patches}});
  // The long list comes last, one short line of text to a patch: source, x, y, split, CRC-32.
  std::string text = j.dump(2);
  text.resize(text.rfind('\n'));
  text += ",\n  \"patches\": [";
  for (size_t i = 0; i < s.patches.size(); ++i) {
    const PatchRecord& p = s.patches[i];
    text += str(i == 0 ? "" : ",", "\n    [", p.source, ", ", p.window.x, ", ", p.window.y, ", \"",
                split_names[static_cast<size_t>(p.split)], "\", ", s.checksums[i], "]");
  }
  return text + "\n  ]\n}\n";
}

StoreSchema schema_from_json(const std::string& text, const std::filesystem::path& path) {
  const json j = json::parse(text, nullptr, false);
  if (j.is_object() && j.value("format", json()) == "unetd patch store") {
    const json version = j.value("version", json());
    if (version != version_of_classes && version != version_of_targets)
      throw UserError(str(path.string(), " is of version ", version.dump(), ", this program reads ",
                          version_of_classes, " and ", version_of_targets,
                          ": build the store again"));
  }
  try {
    return parse(j);
  } catch (const std::exception& e) {
    throw UserError(str(path.string(), " is damaged (", e.what(), "): build the store again"));
  }
}

}  // namespace unetd::io
