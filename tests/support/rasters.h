// Small GeoTIFFs for the tests of io/, and the folder of real data where there is one.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/gdal_geotiff.h"
#include "io/grid.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

// A grid of 10 m pixels in UTM zone 29 N.
inline Grid test_grid(int64_t width, int64_t height, double pixel = 10, double x0 = 500000) {
  Grid grid;
  grid.width = width;
  grid.height = height;
  grid.geotransform = std::array<double, 6>{x0, pixel, 0, 5900040, 0, -pixel};
  grid.crs = "EPSG:32629";
  return grid;
}

// value(band, y, x) for every sample, one band after the other.
template <class T, class F>
void write_raster(const std::filesystem::path& path, const Grid& grid,
                  const std::vector<GeoTiffBand>& bands, F&& value) {
  std::vector<T> samples;
  for (size_t b = 0; b < bands.size(); ++b)
    for (int64_t y = 0; y < grid.height; ++y)
      for (int64_t x = 0; x < grid.width; ++x)
        samples.push_back(static_cast<T>(value(static_cast<int64_t>(b), y, x)));
  GeoTiffWriter writer(path, grid, dtype_of<T>, bands, true);
  writer.write_rows(0, grid.height, samples.data());
  writer.finish();
}

// UNETD_DATA; without it says that the test is skipped.
inline std::optional<std::filesystem::path> real_data() {
  const char* folder = std::getenv("UNETD_DATA");
  if (folder != nullptr && std::filesystem::is_directory(folder)) return folder;
  std::cout << "skipped: UNETD_DATA names no folder of real rasters\n";
  return std::nullopt;
}

}  // namespace unetd::io
