#include "io/stac.h"

#include "engine/base/error.h"
#include "engine/base/file.h"

#include <algorithm>
#include <array>
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

// Common names of the `eo` extension and of the catalogues of Sentinel-2 data.
constexpr std::array<std::pair<std::string_view, const char*>, 16> msi_names = {
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
     {"swir22", "B12"}}};

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

bool of_sentinel2(const json& item) {
  const json& properties = item.at("properties");
  return text_at(properties, "constellation").starts_with("sentinel-2") ||
         text_at(properties, "platform").starts_with("sentinel-2");
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

std::string band_name(const json& band, const std::string& key, bool sentinel2) {
  std::string name = text_at(band, "name");
  if (name.empty()) name = key;
  if (!sentinel2) return name;
  std::string common = text_at(band, "eo:common_name");
  if (common.empty()) common = text_at(band, "common_name");
  // Two bands share "rededge" and "nir08" may be called "nir", so the own name goes first.
  for (const std::string& wanted : {name, key, common})
    for (const auto& [word, msi] : msi_names)
      if (wanted == word) return msi;
  return name;
}

std::vector<StacAsset> assets_of(const fs::path& path, const json& item) {
  const bool sentinel2 = of_sentinel2(item);
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
    assets.push_back({band_name(band, key, sentinel2), href, local_path(path, href),
                      number_at(facts, {"nodata"}), number_at(facts, {"raster:scale", "scale"}),
                      number_at(facts, {"raster:offset", "offset"})});
  }
  return assets;
}

}  // namespace

bool is_stac_item(const fs::path& path) {
  return path.extension() == ".json" && fs::is_regular_file(path);
}

std::vector<StacAsset> read_stac_item(const fs::path& path) {
  std::vector<StacAsset> assets;
  try {
    const json item = json::parse(read_file(path));
    if (const std::string type = text_at(item, "type"); type != "Feature")
      throw UserError(str(path.string(), " is of type '", type,
                          "': give a STAC item, a JSON file of type Feature with assets"));
    assets = assets_of(path, item);
  } catch (const json::exception& e) {
    throw UserError(str("cannot read the STAC item ", path.string(), ": ", e.what(),
                        " (it is damaged or incomplete: copy or download it again)"));
  }
  if (assets.empty())
    throw UserError(str(path.string(),
                        " lists no raster of one band among its assets (GeoTIFF or JPEG 2000): "
                        "give the files themselves"));
  return assets;
}

}  // namespace unetd::io
