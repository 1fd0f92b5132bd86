#include "tools/synth/synth.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/tensor/tensor.h"
#include "io/gdal_geotiff.h"
#include "io/gdal_map_writer.h"
#include "io/grid.h"
#include "tools/synth/product.h"
#include "tools/synth/scene.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <vector>

namespace unetd::synth {
namespace {

constexpr int64_t strip_rows = 256;  // rows of tiles in the files

void check(const char* name, double value, double low, double high) {
  if (!(value >= low && value <= high))
    throw UsageError(str("option ", name, " is ", value, "; use a value from ", low, " to ", high));
}

void check(const SynthOptions& o) {
  check("size", static_cast<double>(o.size), 64, 10980);
  check("clouds", o.clouds, 0, 0.6);
  check("snow", o.snow, 0, 0.6);
  check("water", o.water, 0, 0.6);
  check("sun_azimuth", o.sun_azimuth, 0, 360);
  check("sun_elevation", o.sun_elevation, 10, 80);
}

// Somewhere in the Alps, on the grid of tile 32TNS.
io::Grid grid_of(int64_t size) {
  io::Grid grid;
  grid.width = grid.height = size;
  grid.geotransform = {600000, 10, 0, 5200020, 0, -10};
  grid.crs = "EPSG:32632";
  return grid;
}

std::vector<io::GeoTiffBand> scene_bands() {
  std::vector<io::GeoTiffBand> list;
  list.reserve(bands);
  for (const std::string_view name : band_names)
    list.push_back(
        {std::string(name), 1.0 / dn_per_reflectance, -1.0 * dn_offset / dn_per_reflectance, 0});
  return list;
}

io::MapOptions label_options(bool overwrite) {
  io::MapOptions o;
  o.classes = {{"background", {96, 120, 60}},
               {"snow", {230, 245, 255}},
               {"clouds", {150, 150, 160}},
               {"water", {30, 60, 200}}};
  o.overwrite = overwrite;
  return o;
}

void write_labels(io::MapWriter& file, const Strip& strip, int64_t width) {
  const Shape shape{1, strip.rows, width, 1};
  const Tensor classes = Tensor::from<uint8_t>(shape, strip.labels);
  Tensor valid(shape, DType::u8);
  std::ranges::transform(strip.labels, valid.span<uint8_t>().begin(), [](uint8_t label) {
    return label != static_cast<uint8_t>(Label::outside) ? 1 : 0;
  });
  file.write({0, strip.row, width, strip.rows}, classes, valid);
}

// Where the bands go: scene.tif, or for a product a file that vanishes when that is made of it.
class Stack {
 public:
  explicit Stack(const SynthOptions& o)
      : path_(o.product ? temporary_beside(o.folder / "scene.tif") : o.folder / "scene.tif"),
        passing_(o.product) {}
  ~Stack() {
    std::error_code ignored;
    if (passing_) std::filesystem::remove(path_, ignored);
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool passing_;
};

}  // namespace

void generate(const SynthOptions& options, const Progress& progress) {
  check(options);
  std::error_code failure;
  std::filesystem::create_directories(options.folder, failure);
  if (failure)
    throw UserError(str("cannot make the folder ", options.folder.string(), ": ", failure.message(),
                        "; choose one that can be written to"));
  const auto report = [&](double share) {
    if (progress) progress(share);
  };
  const io::Grid grid = grid_of(options.size);
  const Stack stack(options);
  io::GeoTiffWriter bands(stack.path(), grid, DType::u16, scene_bands(), options.overwrite);
  io::MapWriter labels(options.folder / "labels.tif", grid, label_options(options.overwrite));
  io::GeoTiffWriter dem(options.folder / "dem.tif", grid, DType::f32, {{"elevation"}},
                        options.overwrite);
  report(0);
  const Scene scene(options);
  // Of the time, roughly.
  constexpr double land = 0.25;
  const double seen = options.product ? 0.5 : 1;
  report(land * seen);
  for (int64_t row = 0; row < options.size; row += strip_rows) {
    const Strip strip = scene.render(row, std::min(strip_rows, options.size - row));
    bands.write_rows(row, strip.rows, strip.dn.data());
    write_labels(labels, strip, options.size);
    dem.write_rows(row, strip.rows, scene.dem().data() + row * options.size);
    const double share = static_cast<double>(row + strip.rows) / static_cast<double>(options.size);
    report((land + (1 - land) * share) * seen);
  }
  dem.finish();
  labels.finish();
  bands.finish();
  if (options.product)
    write_product(options.folder, stack.path(), options.overwrite,
                  [&](double share) { report(seen + (1 - seen) * share); });
}

}  // namespace unetd::synth
