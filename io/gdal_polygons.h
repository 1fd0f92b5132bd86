// Turns a class map into polygons for a GIS.
#pragma once

#include <cstdint>
#include <filesystem>

namespace unetd::io {

// Writes a GeoPackage with the layer "classes": one polygon per 4-connected patch of equal pixels,
// its fields `class` (index) and `name` (from the map's class names, if it has them). Nodata gives
// no polygon. The file appears whole or not at all. Throws UserError if `map` is no class map, or
// if `target` exists (without `overwrite`) or cannot be written.
int64_t polygonise(const std::filesystem::path& map, const std::filesystem::path& target,
                   bool overwrite);

}  // namespace unetd::io
