// Where labels come from beside label rasters: vector data, a product's own scene classification,
// and rules over other rasters.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/labels.h"
#include "io/scene.h"

#include <filesystem>

namespace unetd::io {

// Labels of a scene, {1, h, w, 1} u8 of class indices and 255, from
//   a label raster                   read_labels (io/labels.h)
//   GeoPackage, GeoJSON, Shapefile   map.vector's attribute; features are burned class by class in
//                                    the order of the classes, so that later ones lie on top
//   "SCL"                            the scene's own band of that name (level 2A products)
//   "rules"                          map.rules, later ones on top
// Ground that no feature or rule touches is of map.background, or ignored. Throws UserError naming
// the file and what is wrong with it, UsageError for a map that lacks what the source needs.
Tensor make_labels(const std::filesystem::path& source, const std::filesystem::path& scene_path,
                   const SceneOptions& scene_options, const Grid& scene, const ClassMap& map,
                   const Share& share = {});

// The vector part, which needs GDAL (io/gdal_vectors.cpp).
bool is_vector_file(const std::filesystem::path& path);
Tensor burn_vectors(const std::filesystem::path& path, const Grid& scene, const ClassMap& map,
                    const Share& share);

}  // namespace unetd::io
