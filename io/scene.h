// A scene: the bands of one place and time as a single raster. It is read from a GeoTIFF, COG or
// VRT stack, from a folder of band files of several resolutions, which are brought to the finest
// grid, or from a Sentinel-2 product (io/product.h). Paths may be GDAL's ("/vsizip/a.zip/b.tif").
// A Scene is used by one thread at a time (GDAL's rule); open one per thread.
#pragma once

#include "engine/base/dtype.h"
#include "engine/tensor/tensor.h"
#include "io/grid.h"
#include "io/resample.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

// A raster that becomes a channel of the scene: a terrain model, canopy cover. It may lie on
// another grid and in another coordinate system; where it has no data, the scene has none.
struct ExtraRaster {
  std::string name;
  // "{folder}" in it stands for the folder that the scene lies in, "{scene}" for scene_name(): a
  // raster for each of many scenes.
  std::filesystem::path path;
  Resampling resampling = Resampling::bilinear;
};

struct SceneOptions {
  std::vector<std::string> bands;  // in this order, extras last; empty: all there are
  std::vector<ExtraRaster> extras;
  Resampling resampling = Resampling::bilinear;  // for bands coarser than the scene
  // Metres a pixel. 0: 10 m of products, the finest of a folder. Single rasters must have it.
  int resolution = 0;
  std::string granule;                          // of a product with several tiles: "T32TQR"
  std::optional<double> nodata, scale, offset;  // instead of what the files say, for all bands
  std::string date;                             // the same; empty: as the files say
};

// physical value = stored value * scale + offset; nodata and saturated are stored values.
struct SceneBand {
  std::string name;
  std::optional<double> nodata;
  double scale = 1, offset = 0;
  std::optional<double> saturated = {};  // of pixels beyond the range; never averaged with others
};

// Pixels of a window: image {1, h, w, bands}, valid {1, h, w, 1} u8, 1 where every band has data.
struct Raster {
  Tensor image, valid;
};

// May a window reach outside the scene? What lies there is zero and invalid, or the scene's mirror
// image (engine/tensor/mirror.h).
enum class Outside : uint8_t { refuse, pad, mirror };

class Scene {
 public:
  // Throws UserError: no such file, no raster, no band of that name, complex samples, band files
  // whose grids do not fit one another.
  static Scene open(const std::filesystem::path& path, const SceneOptions& options = {});
  Scene(Scene&&) noexcept;
  Scene& operator=(Scene&&) noexcept;
  ~Scene();

  const std::filesystem::path& path() const;
  const Grid& grid() const;
  const std::vector<SceneBand>& bands() const;
  // When it was sensed, "2022-10-05" (UTC), by the metadata of a product or STAC item, or by a
  // metadata item of the rasters that names the acquisition; empty if none does.
  const std::string& date() const;
  // u8, u16, i16 or f32: the bands' common type, f32 where they have none.
  DType dtype() const;

  // Invalid pixels are those with nodata, NaN or infinity in any band, or masked by the file.
  // Throws UserError on damaged data, and for a window outside the scene unless `pad` is asked for.
  Raster read(const Window& window, Outside outside = Outside::refuse) const;
  // Only which pixels are valid, {1, h, w, 1} u8, without interpolating bands of other resolutions.
  Tensor read_valid(const Window& window) const;

 private:
  struct State;
  explicit Scene(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// What a scene's map may be called: the file's stem, the product's or the folder's.
std::string scene_name(const std::filesystem::path& path);

// Grid, bands, what samples mean and when they were sensed, in one line.
std::string describe(const Scene& scene);

// All files a scene is read from, for the record.
std::vector<std::filesystem::path> scene_files(const std::filesystem::path& path);
// Their sizes together; names that GDAL can open but that are no files do not count.
int64_t file_bytes(const std::filesystem::path& path);

}  // namespace unetd::io
