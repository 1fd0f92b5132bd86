// Writes a band as lossless JPEG 2000, as Sentinel-2 products hold it.
#pragma once

#include "io/grid.h"

#include <cstdint>
#include <filesystem>
#include <span>

namespace unetd::io {

// `samples`: the rows of the grid. The file appears under its name when it is complete. Throws
// UserError if it cannot be written or GDAL has no JPEG 2000 writer.
void write_jp2(const std::filesystem::path& target, const Grid& grid, std::span<uint16_t> samples);

}  // namespace unetd::io
