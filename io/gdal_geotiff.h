// Writes a raster of measurements (a scene, a terrain model) as a tiled, compressed GeoTIFF, some
// rows at a time. The file appears under its name when finish() has all of it on disk, and never
// before.
#pragma once

#include "engine/base/dtype.h"
#include "io/grid.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

// What is said about a band: physical value = stored value * scale + offset.
struct GeoTiffBand {
  std::string name;
  double scale = 1, offset = 0;
  std::optional<double> nodata;
};

class GeoTiffWriter {
 public:
  // `dtype`: u8, u16, i16 or f32. Throws UserError if `target` exists (without `overwrite`) or its
  // folder cannot be written to.
  GeoTiffWriter(const std::filesystem::path& target, const Grid& grid, DType dtype,
                const std::vector<GeoTiffBand>& bands, bool overwrite);
  GeoTiffWriter(GeoTiffWriter&&) noexcept;
  GeoTiffWriter& operator=(GeoTiffWriter&&) noexcept;
  ~GeoTiffWriter();

  // `samples` holds (band, row, column) of whole rows from `first_row` on, dense. Multiples of 256
  // rows are written without reading anything back. Throws UserError if the disk is full.
  void write_rows(int64_t first_row, int64_t rows, const void* samples);
  // Throws UserError.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace unetd::io
