// STAC items (SpatioTemporal Asset Catalog 1.0 and 1.1): a JSON file that lists the files of a
// scene and what they hold. Only the list is read here.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

// An asset that is a raster of one band. Names are those of the item's bands, else of its assets;
// common names ("blue") of Sentinel-2 items are MSI's ("B02").
struct StacAsset {
  std::string name;
  std::string href;            // as the item has it
  std::filesystem::path path;  // empty if it is remote
  // physical value = stored value * scale + offset, where the item says so
  std::optional<double> nodata, scale, offset;
};

// Is it named like an item?
bool is_stac_item(const std::filesystem::path& path);

// In the order of the item. Throws UserError: unreadable, no item, or one without such assets.
std::vector<StacAsset> read_stac_item(const std::filesystem::path& path);

}  // namespace unetd::io
