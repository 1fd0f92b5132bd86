// Sentinel-2 products as ESA delivers them: a .SAFE folder, a .zip of one, or its main metadata
// file; levels 1C and 2A, old and new layout and naming, one or several granules (tiles). Only
// metadata is read here; every number comes from it and none from dates or file order.
#pragma once

#include "io/grid.h"
#include "io/scene.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

// One image of a granule: a spectral band (B01 to B12, B8A), or of level 2A SCL (scene classes),
// AOT (aerosol optical thickness), WVP (water vapour, cm), CLD and SNW (cloud and snow probability,
// %).
struct ProductImage {
  std::string band;
  int resolution = 0;          // metres
  std::filesystem::path path;  // where it is, or should be
  bool present = false;        // the metadata may list what a copy of the product lacks
};

struct Granule {
  std::string tile;           // "T32TQR"
  std::string date;           // when it was sensed, "2022-10-05" (UTC); empty if it does not say
  std::map<int, Grid> grids;  // by resolution
  std::vector<ProductImage> images;

  const ProductImage* image(const std::string& band, int resolution) const;
};

struct Product {
  std::filesystem::path metadata;
  int level = 1;
  std::string baseline;  // processing baseline, "05.09"
  double saturated = 65535;
  std::vector<Granule> granules;
  std::map<std::string, SceneBand> bands;  // calibration: physical value = DN * scale + offset

  // Throws UserError that lists them if there are several and none is named.
  const Granule& granule(const std::string& tile) const;
};

// The main metadata file if `path` is a product, or one inside an archive.
std::optional<std::filesystem::path> find_product(const std::filesystem::path& path);

// Throws UserError: metadata damaged or incomplete, or of another kind of product.
Product read_product(const std::filesystem::path& metadata);

// The calibration alone, of main metadata that lie apart from their product.
std::map<std::string, SceneBand> read_calibration(const std::filesystem::path& metadata);

// The images that make up a scene: for each band that of the wanted resolution, else that of the
// band's native one (also where a copy of the product lacks the former), else the nearest coarser,
// else the nearest finer one. Empty `bands`: all
// spectral bands; of level 2A without those that it gives at finer resolutions only (B08 at 20 and
// 60 m). Throws UserError naming bands that the product does not have, and all missing files.
std::vector<ProductImage> choose_images(const Product& product, const Granule& granule,
                                        const std::vector<std::string>& bands, int resolution);

}  // namespace unetd::io
