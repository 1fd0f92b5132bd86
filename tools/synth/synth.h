// A made-up Sentinel-2 L1C scene with its truth: eroded mountains, lakes, snow, land cover, clouds
// and their shadows, seen through the 13 bands. Everything is a function of the options alone: the
// same options give the same bytes on any number of threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

namespace unetd::synth {

struct SynthOptions {
  // Made if missing; receives scene.tif or a product, labels.tif and dem.tif.
  std::filesystem::path folder;
  int64_t size = 1024;  // pixels of 10 m along each side, 64 to 10980
  uint64_t seed = 1;
  // Aims, as shares of the scene in [0, 0.6]. Clouds hide what is under them, so the shares of snow
  // and water in the labels come out lower by that part.
  double clouds = 0.22;
  double snow = 0.28;
  double water = 0.10;
  double sun_azimuth = 155;   // degrees clockwise from north
  double sun_elevation = 34;  // degrees above the horizon, 10 to 80
  bool swath_edge = true;     // a slanted swath edge cuts a corner off (nodata)
  bool product = false;       // a .SAFE folder (tools/synth/product.h) instead of scene.tif
  bool overwrite = false;     // otherwise existing results are an error
};

// What the label raster holds; 255 lies outside the swath.
enum class Label : uint8_t { background = 0, snow = 1, clouds = 2, water = 3, outside = 255 };

// Receives the share done, 0 to 1, from the calling thread.
using Progress = std::function<void(double)>;

// Writes to options.folder
//   scene.tif    13 bands uint16 (B01 ... B08, B8A, B09 ... B12), reflectance = DN * 0.0001 - 0.1
//                (0: nodata)
//   labels.tif   uint8 Label with colour table and category names
//   dem.tif      float32, metres above the sea
// Throws UsageError for an option out of range, UserError when a file cannot be written.
void generate(const SynthOptions& options, const Progress& progress = {});

}  // namespace unetd::synth
