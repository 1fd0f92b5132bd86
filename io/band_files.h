// The files of a scene that has one for each band: a folder of them, or what a STAC item lists.
#pragma once

#include "io/scene.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

// Sentinel-2's band names in the order of wavelength, which is the order of its stacks.
inline const std::vector<std::string> sentinel_bands = {
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"};

// A file of one band and what is said of it beside what it says itself.
struct BandFile {
  std::string name;
  std::filesystem::path path;  // empty if it is remote
  std::string href;
  std::optional<double> nodata, scale, offset;
  bool zero_is_data = false;
};

// Several of them; when they were sensed and their product's calibration, if that is said beside.
struct BandFiles {
  std::vector<BandFile> files;
  std::string date;
  std::map<std::string, SceneBand> product;
};

// The files of a folder whose names carry a band, sorted. Throws UserError where there is none.
std::vector<std::filesystem::path> files_of_folder(const std::filesystem::path& folder);
BandFiles band_files(const std::filesystem::path& folder);

// Throws UserError as read_stac_item does, and where an item leaves the calibration to metadata of
// its product that are damaged or missing.
BandFiles item_files(const std::filesystem::path& path);

}  // namespace unetd::io
