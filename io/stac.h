// STAC items (SpatioTemporal Asset Catalog 1.0 and 1.1): a JSON file that lists the files of a
// scene and what they hold. Only the list is read here. Catalogues of Sentinel-2 data name assets
// and bands each in their own way: Earth Search by colour ("blue", "blue-jp2", "nir08"), Planetary
// Computer by MSI's names ("B02", "SCL"), Copernicus by name and resolution ("B02_10m").
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

// An asset that is a raster of one band. Names are those of the item's bands, else of its assets;
// in Sentinel-2 items they are those of its products ("B02", "SCL", "CLD").
struct StacAsset {
  std::string name;
  std::string href;            // as the item has it
  std::filesystem::path path;  // empty if it is remote
  // physical value = stored value * scale + offset, where the item says so
  std::optional<double> nodata, scale, offset;
  bool zero_is_data = false;  // a probability: 0 is no cloud, whatever item and file call nodata
};

struct StacItem {
  std::string date;  // of properties.datetime, "2022-10-05"; empty if it spans several days
  std::vector<StacAsset> assets;           // in the order of the item
  std::filesystem::path product_metadata;  // MTD_MSIL*.xml among the assets; empty: none or remote
};

// Is it named like an item?
bool is_stac_item(const std::filesystem::path& path);

// Throws UserError: unreadable, no item, or one without such assets. Earth Search has taken the
// offset off the samples of some GeoTIFFs and says so in a property of the item, while their bands
// go on to state it: the property counts.
StacItem read_stac_item(const std::filesystem::path& path);

}  // namespace unetd::io
