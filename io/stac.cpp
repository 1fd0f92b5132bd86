#include "io/stac.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/date.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <initializer_list>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

// Assets in the order they are written.
using json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 18> product_names = {
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A",
    "B09", "B10", "B11", "B12", "SCL", "AOT", "WVP", "CLD", "SNW"};

// Common names of the `eo` extension, and of the catalogues of Sentinel-2 data.
constexpr std::array<std::pair<std::string_view, const char*>, 18> common_names = {
    {{"coastal", "B01"},
     {"blue", "B02"},
     {"green", "B03"},
     {"red", "B04"},
     {"rededge1", "B05"},
     {"rededge071", "B05"},
     {"rededge2", "B06"},
     {"rededge075", "B06"},
     {"rededge3", "B07"},
     {"rededge078", "B07"},
     {"nir", "B08"},
     {"nir08", "B8A"},
     {"nir09", "B09"},
     {"cirrus", "B10"},
     {"swir16", "B11"},
     {"swir22", "B12"},
     {"cloud", "CLD"},
     {"snow", "SNW"}}};

std::string mapped(std::string text, int (*change)(int)) {
  for (char& c : text) c = static_cast<char>(change(static_cast<unsigned char>(c)));
  return text;
}

// "B02" of "B02", "B02_10m", "blue" and "blue-jp2"; empty if a word is the name of none.
std::string product_name(std::string word) {
  for (const std::string_view suffix : {"_10m", "_20m", "_60m", "-jp2"})
    if (word.ends_with(suffix)) word.resize(word.size() - suffix.size());
  std::string upper = mapped(word, std::toupper);
  if (std::ranges::find(product_names, upper) != product_names.end()) return upper;
  for (const auto& [common, name] : common_names)
    if (word == common) return name;
  return "";
}

std::string text_at(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

// The first of the keys that holds a number; "nan" is one.
std::optional<double> number_at(const json& object, const std::vector<const char*>& keys) {
  for (const char* key : keys) {
    const auto at = object.find(key);
    if (at == object.end() || at->is_null()) continue;
    return at->is_string() && *at == "nan" ? std::nan("") : at->get<double>();
  }
  return std::nullopt;
}

// Catalogues write "sentinel-2", "Sentinel-2A" and "Sentinel 2".
bool of_sentinel2(const json& item) {
  const json& properties = item.at("properties");
  return std::ranges::any_of(std::array{"constellation", "platform"}, [&](const char* key) {
    std::string text = mapped(text_at(properties, key), std::tolower);
    std::ranges::replace(text, ' ', '-');
    return text.starts_with("sentinel-2");
  });
}

bool says_offset_is_applied(const json& item) {
  const json& properties = item.at("properties");
  return std::ranges::any_of(
      std::array{"earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"},
      [&](const char* key) { return properties.value(key, json()) == true; });
}

// A time without length, or the day on which its span begins and ends.
std::string date_of(const fs::path& path, const json& item) {
  const json& properties = item.at("properties");
  const auto day = [&](const char* key) -> std::string {
    const std::string text = text_at(properties, key);
    if (text.empty()) return "";
    if (const auto date = stated_date(text)) return *date;
    throw UserError(str("the STAC item ", path.string(), " states ", key, " '", text,
                        "', which is no date and time in UTC: mend it"));
  };
  if (std::string date = day("datetime"); !date.empty()) return date;
  const std::string first = day("start_datetime"), last = day("end_datetime");
  return first == last ? first : "";
}

bool is_raster(const json& asset, const std::string& href) {
  const json roles = asset.value("roles", json::array());
  for (const char* role : {"thumbnail", "overview", "metadata"})
    if (std::ranges::find(roles, json(role)) != roles.end()) return false;
  const std::string type = text_at(asset, "type"), suffix = fs::path(href).extension().string();
  return type.starts_with("image/tiff") || type.starts_with("image/jp2") ||
         type.starts_with("image/vnd.stac.geotiff") || suffix == ".tif" || suffix == ".tiff" ||
         suffix == ".jp2" || suffix == ".vrt";
}

// What the item says of an asset's bands, by the newer key or the older ones.
const json& list_at(const json& asset, std::initializer_list<const char*> keys) {
  static const json none = json::array();
  for (const char* key : keys)
    if (asset.contains(key)) return asset.at(key);
  return none;
}

fs::path local_path(const fs::path& item, const std::string& href) {
  constexpr std::string_view local = "file://";
  if (href.starts_with(local)) return href.substr(local.size());
  if (href.find("://") != std::string::npos) return {};
  return (item.parent_path() / href).lexically_normal();
}

// Two bands share the common name "rededge", and "nir08" may be called "nir" or "rededge": so the
// own name goes first.
std::string band_name(const json& band, const std::string& key, bool sentinel2) {
  std::string name = text_at(band, "name");
  if (name.empty()) name = key;
  if (!sentinel2) return name;
  std::string common = text_at(band, "eo:common_name");
  if (common.empty()) common = text_at(band, "common_name");
  for (const std::string& wanted : {name, key, common})
    if (std::string known = product_name(wanted); !known.empty()) return known;
  return name;
}

std::vector<StacAsset> assets_of(const fs::path& path, const json& item) {
  const bool sentinel2 = of_sentinel2(item), offset_applied = says_offset_is_applied(item);
  std::vector<StacAsset> assets;
  for (const auto& [key, asset] : item.at("assets").items()) {
    const std::string href = asset.at("href");
    if (!is_raster(asset, href)) continue;
    const json& bands = list_at(asset, {"bands", "eo:bands"});
    const json& raster = list_at(asset, {"raster:bands", "bands"});
    if (bands.size() > 1 || raster.size() > 1) continue;  // a picture of several bands
    const json band = bands.empty() ? json::object() : bands.at(0);
    json facts = asset;
    if (!raster.empty()) facts.update(raster.at(0));
    StacAsset& added = assets.emplace_back(
        StacAsset{band_name(band, key, sentinel2), href, local_path(path, href),
                  number_at(facts, {"nodata"}), number_at(facts, {"raster:scale", "scale"}),
                  number_at(facts, {"raster:offset", "offset"})});
    // Not of the JPEG 2000 files beside them, which are ESA's.
    if (offset_applied && text_at(asset, "type").starts_with("image/tiff")) added.offset = 0;
    added.zero_is_data = sentinel2 && (added.name == "CLD" || added.name == "SNW");
  }
  return assets;
}

fs::path product_metadata_of(const fs::path& path, const json& item) {
  if (!of_sentinel2(item)) return {};
  for (const char* key : {"product-metadata", "product_metadata"})
    if (const auto at = item.at("assets").find(key); at != item.at("assets").end())
      return local_path(path, at->at("href"));
  return {};
}

}  // namespace

bool is_stac_item(const fs::path& path) {
  return path.extension() == ".json" && fs::is_regular_file(path);
}

StacItem read_stac_item(const fs::path& path) {
  StacItem read;
  try {
    const json item = json::parse(read_file(path));
    if (const std::string type = text_at(item, "type"); type != "Feature")
      throw UserError(str(path.string(), " is of type '", type,
                          "': give a STAC item, a JSON file of type Feature with assets"));
    read = {date_of(path, item), assets_of(path, item), product_metadata_of(path, item)};
  } catch (const json::exception& e) {
    throw UserError(str("cannot read the STAC item ", path.string(), ": ", e.what(),
                        " (it is damaged or incomplete: copy or download it again)"));
  }
  if (read.assets.empty())
    throw UserError(str(path.string(),
                        " lists no raster of one band among its assets (GeoTIFF or JPEG 2000): "
                        "give the files themselves"));
  return read;
}

}  // namespace unetd::io
