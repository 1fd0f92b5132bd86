#include "io/band_files.h"

#include "engine/base/error.h"
#include "io/gdal_vsi.h"
#include "io/product.h"
#include "io/stac.h"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// The Sentinel-2 band that a word of a name is: "T29UNU_20221005_B8A_20m" -> "B8A".
std::string band_word(std::string words) {
  for (char& c : words)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = ' ';
  std::istringstream in(words);
  for (std::string word; in >> word;)
    if (contains(sentinel_bands, word)) return word;
  return "";
}

}  // namespace

std::vector<fs::path> files_of_folder(const fs::path& folder) {
  static const std::vector<std::string> suffixes = {".tif", ".tiff", ".jp2", ".vrt", ".img"};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (contains(suffixes, entry.path().extension().string()) &&
        !band_word(entry.path().stem().string()).empty())
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  if (files.empty())
    throw UserError(str(folder.string(),
                        " holds no band file: names carry a band such as B02 or B8A and end in "
                        ".tif, .jp2 or .vrt"));
  return files;
}

BandFiles band_files(const fs::path& folder) {
  BandFiles found;
  for (const fs::path& path : files_of_folder(folder))
    found.files.push_back({band_word(path.stem().string()), path, path.string(), {}, {}, {}});
  return found;
}

BandFiles item_files(const fs::path& path) {
  const StacItem item = read_stac_item(path);
  BandFiles found{{}, item.date, {}};
  const auto calibrates = [](const StacAsset& a) { return a.scale || a.offset; };
  const fs::path& metadata = item.product_metadata;
  // Who states a calibration may have left the product's file behind.
  if (!metadata.empty() &&
      (path_kind(metadata) != PathKind::none || std::ranges::none_of(item.assets, calibrates)))
    found.product = read_calibration(metadata);
  for (const StacAsset& asset : item.assets) {
    const std::string word = band_word(asset.name);
    found.files.push_back({word.empty() ? asset.name : word, asset.path, asset.href, asset.nodata,
                           asset.scale, asset.offset, asset.zero_is_data});
  }
  return found;
}

}  // namespace unetd::io
