// Writes a map as a cloud-optimised GeoTIFF on the scene's grid. Parts may come in any order; what
// never comes is nodata. The file appears under its name when finish() has all of it on disk, and
// never before: on any failure nothing is left behind.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace unetd::io {

// What is stored for a pixel:
//   classes                one u8 band, index of the best class, nodata 255, colour table, names
//   probabilities          a f32 band per output of the network, nodata NaN
//   scaled_probabilities   a u8 band per output, 0..250 for 0..1 (band scale 1/250), nodata 255
//   logits                 a f32 band per output, nodata NaN, uncompressed: any TIFF reader opens
//                          it
//   values                 one f32 band of numbers in their unit, nodata NaN
enum class Emit : uint8_t { classes, probabilities, scaled_probabilities, logits, values };
// By those names. Throws UsageError for any other.
Emit parse_emit(std::string_view name);

struct MapClass {
  std::string name;
  std::array<uint8_t, 3> colour{};
};

struct MapOptions {
  Emit emit = Emit::classes;
  std::vector<MapClass> classes;  // at most 255; of a map of values one: what the values are
  std::string unit;               // of values, "m"; may be empty
  // Bands of what is no class map: one per class, or a single one that tells two classes apart.
  int64_t outputs = 0;
  std::string compression = "deflate";  // or zstd, where GDAL has it
  bool overwrite = false;
  std::vector<std::pair<std::string, std::string>> metadata;  // "MODEL" -> "last.ckpt"
};

class MapWriter {
 public:
  // Throws UserError if `target` exists (without `overwrite`) or its folder cannot be written to.
  MapWriter(const std::filesystem::path& target, const Grid& grid, MapOptions options);
  MapWriter(MapWriter&&) noexcept;
  MapWriter& operator=(MapWriter&&) noexcept;
  ~MapWriter();

  // values: of the pixels of `window`, class indices u8 {1, h, w, 1} for a class map, else f32
  // {1, h, w, outputs}; valid: u8 {1, h, w, 1}, 0 for nodata. Throws Error if a valid pixel has no
  // class or its value is NaN, UserError if the disk is full.
  void write(const Window& window, const Tensor& values, const Tensor& valid);

  // Builds overviews and the cloud-optimised layout and gives the map its name. Throws UserError.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What a map file says about itself.
struct MapInfo {
  std::vector<MapClass> classes;  // of a class map; names are empty where the file has none
  std::string description, unit;  // of the first band, "canopy height" and "m"; empty if not told
  int64_t block = 0;              // rows of a block
  int overviews = 0;
  bool cloud_optimised = false;
  std::string compression;  // GDAL's name, empty for none
  std::vector<std::pair<std::string, std::string>> metadata;
};
// Throws UserError if the file cannot be read.
MapInfo map_info(const std::filesystem::path& map);

}  // namespace unetd::io
