#include "io/gdal_quicklook.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/gdal.h"
#include "io/gdal_output.h"
#include "io/picture.h"
#include "io/ramp.h"
#include "io/stated_value.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>

#include <cpl_vsi.h>
#include <gdal.h>

namespace unetd::io {
namespace {

constexpr size_t rgba = 4;

int band_index(const Scene& scene, const std::string& band) {
  const auto& all = scene.bands();
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].name == band) return static_cast<int>(i);
  size_t position = 0;
  const auto [end, code] = std::from_chars(band.data(), band.data() + band.size(), position);
  const bool number = code == std::errc() && end == band.data() + band.size();
  if (number && position >= 1 && position <= all.size()) return static_cast<int>(position - 1);
  throw UsageError(str("no band '", band, "' in ", scene.path().string(),
                       ": give a band's name or a number from 1 to ", all.size()));
}

BandTriple band_indices(const Scene& scene, const std::vector<std::string>& bands) {
  if (bands.size() == 3)
    return {band_index(scene, bands[0]), band_index(scene, bands[1]), band_index(scene, bands[2])};
  if (bands.size() == 1) {
    const int grey = band_index(scene, bands[0]);
    return {grey, grey, grey};
  }
  if (!bands.empty())
    throw UsageError(str("a picture of ", bands.size(), " bands: give one (grey) or three"));
  return true_colour(scene.bands());
}

// Sums of the valid pixels of each cell of a picture, and how many there are.
struct Cells {
  Shape shape;
  std::vector<double> sums;  // three per cell
  std::vector<int64_t> counts;

  explicit Cells(const Shape& s)
      : shape(s), sums(static_cast<size_t>(3 * s.pixels())), counts(sums.size() / 3) {}

  template <class T>
  void add(const Raster& strip, const Window& where, const Grid& grid, BandTriple bands) {
    const auto pixels = strip.image.span<T>();
    const auto valid = strip.valid.span<uint8_t>();
    const auto c = static_cast<size_t>(strip.image.shape().c);
    size_t i = 0;
    for (int64_t y = where.y; y < where.y + where.height; ++y) {
      const int64_t row = y * shape.h / grid.height * shape.w;
      for (int64_t x = 0; x < grid.width; ++x, ++i) {
        if (valid[i] == 0) continue;
        const auto cell = static_cast<size_t>(row + x * shape.w / grid.width);
        ++counts[cell];
        for (size_t k = 0; k < 3; ++k)
          sums[3 * cell + k] += static_cast<double>(pixels[i * c + static_cast<size_t>(bands[k])]);
      }
    }
  }
};

void add_strip(Cells& cells, const Raster& strip, const Window& where, const Grid& grid,
               BandTriple bands) {
  switch (strip.image.dtype()) {
    case DType::u8:
      return cells.add<uint8_t>(strip, where, grid, bands);
    case DType::u16:
      return cells.add<uint16_t>(strip, where, grid, bands);
    case DType::i16:
      return cells.add<int16_t>(strip, where, grid, bands);
    case DType::f32:
      return cells.add<float>(strip, where, grid, bands);
    default:
      throw Error(str("no picture of ", name_of(strip.image.dtype()), " samples"));
  }
}

Cells average(const Scene& scene, const std::vector<std::string>& bands, int64_t long_side) {
  const Grid& grid = scene.grid();
  const auto indices = band_indices(scene, bands);
  Cells cells(picture_shape(grid, long_side));
  constexpr int64_t strip_rows = 256;  // about one row of blocks
  for (int64_t y = 0; y < grid.height; y += strip_rows) {
    const Window where{0, y, grid.width, std::min(strip_rows, grid.height - y)};
    add_strip(cells, scene.read(where), where, grid, indices);
  }
  for (size_t i = 0; i < cells.counts.size(); ++i)
    for (size_t k = 0; k < 3 && cells.counts[i] > 0; ++k)
      cells.sums[3 * i + k] /= static_cast<double>(cells.counts[i]);
  return cells;
}

// Of the first band of a map; its nodata value where a cell has no pixel with data. GDAL averages,
// from the map's overviews where they are fine enough.
std::vector<float> cell_means(const Dataset& map, const Shape& cells) {
  std::vector<float> means(static_cast<size_t>(cells.pixels()));
  GDALRasterIOExtraArg how;
  INIT_RASTERIO_EXTRA_ARG(how);
  how.eResampleAlg = GRIORA_Average;
  const int w = static_cast<int>(cells.w), h = static_cast<int>(cells.h);
  const GdalErrors errors(map.path());
  const CPLErr result = GDALRasterIOEx(
      GDALGetRasterBand(map.handle(), 1), GF_Read, 0, 0, static_cast<int>(map.grid().width),
      static_cast<int>(map.grid().height), means.data(), w, h, GDT_Float32, 0, 0, &how);
  errors.check(result == CE_None, "read", "the file is damaged: write it again");
  return means;
}

// The 2nd and the 98th percentile of a band over the cells that have data.
std::pair<double, double> stretch_limits(const Cells& cells, size_t band) {
  std::vector<double> values;
  for (size_t i = 0; i < cells.counts.size(); ++i)
    if (cells.counts[i] > 0) values.push_back(cells.sums[3 * i + band]);
  if (values.empty()) return {0, 1};
  const auto percentile = [&](double share) {
    const double rank = std::round(share * static_cast<double>(values.size() - 1));
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(values.begin(), at, values.end());
    return *at;
  };
  const double low = percentile(0.02), high = percentile(0.98);
  return {low, high > low ? high : low + 1};
}

// Copies a picture into a data set in memory, the only kind the PNG driver can take one from.
DatasetHandle in_memory(const Tensor& picture) {
  const Shape s = picture.shape();
  const int w = static_cast<int>(s.w), h = static_cast<int>(s.h), c = static_cast<int>(s.c);
  DatasetHandle memory(GDALCreate(GDALGetDriverByName("MEM"), "", w, h, c, GDT_Byte, nullptr));
  if (!memory) return memory;
  // GDALDatasetRasterIOEx takes one pointer for both directions; writing only reads from it.
  void* pixels = const_cast<void*>(picture.data());
  const CPLErr copied = GDALDatasetRasterIOEx(memory.get(), GF_Write, 0, 0, w, h, pixels, w, h,
                                              GDT_Byte, c, nullptr, c, GSpacing{c} * w, 1, nullptr);
  if (copied != CE_None) memory.reset();
  return memory;
}

}  // namespace

Shape picture_shape(const Grid& grid, int64_t long_side) {
  UNETD_CHECK(long_side > 0, "picture of ", long_side, " pixels");
  const int64_t longest = std::max(grid.width, grid.height), side = std::min(longest, long_side);
  const auto scaled = [&](int64_t extent) {
    return std::max<int64_t>((extent * side + longest / 2) / longest, 1);
  };
  return {1, scaled(grid.height), scaled(grid.width), rgba};
}

Tensor class_picture(const std::filesystem::path& map, int64_t long_side) {
  const Dataset dataset = Dataset::open(map);
  const GDALRasterBandH band = GDALGetRasterBand(dataset.handle(), 1);
  const GDALColorTableH colours = GDALGetRasterColorTable(band);
  if (dataset.bands().size() != 1 || GDALGetRasterDataType(band) != GDT_Byte || colours == nullptr)
    throw UserError(str(map.string(), " is no class map: give one u8 band with a colour table"));
  const Grid& grid = dataset.grid();
  Tensor picture(picture_shape(grid, long_side), DType::u8);
  const Shape s = picture.shape();
  std::vector<uint8_t> classes(static_cast<size_t>(s.pixels()));
  const int w = static_cast<int>(s.w), h = static_cast<int>(s.h);
  const GdalErrors errors(map);
  const CPLErr result = GDALRasterIO(band, GF_Read, 0, 0, static_cast<int>(grid.width),
                                     static_cast<int>(grid.height), classes.data(), w, h, GDT_Byte,
                                     0, 0);  // fewer cells than pixels: GDAL takes the nearest
  errors.check(result == CE_None, "read", "the file is damaged: write it again");
  const auto to = picture.span<uint8_t>();
  for (size_t i = 0; i < classes.size(); ++i) {
    const GDALColorEntry* colour = GDALGetColorEntry(colours, classes[i]);
    if (colour == nullptr || classes[i] == dataset.bands()[0].nodata) continue;
    to[rgba * i] = static_cast<uint8_t>(colour->c1);
    to[rgba * i + 1] = static_cast<uint8_t>(colour->c2);
    to[rgba * i + 2] = static_cast<uint8_t>(colour->c3);
    to[rgba * i + 3] = 255;
  }
  return picture;
}

Tensor value_picture(const std::filesystem::path& map, double low, double high, int64_t long_side) {
  UNETD_CHECK(low < high, "a ramp from ", low, " to ", high);
  const Dataset dataset = Dataset::open(map);
  if (dataset.bands().size() != 1)
    throw UserError(str(map.string(), " has ", dataset.bands().size(),
                        " bands and is no map of values: give one of a single band"));
  const std::optional<double> nodata = dataset.bands()[0].nodata;
  Tensor picture(picture_shape(dataset.grid(), long_side), DType::u8);
  const auto to = picture.span<uint8_t>();
  const std::vector<float> means = cell_means(dataset, picture.shape());
  for (size_t i = 0; i < means.size(); ++i) {
    if (lacks_data(means[i], nodata)) continue;
    const auto color = ramp_color((static_cast<double>(means[i]) - low) / (high - low));
    std::ranges::copy(color, to.begin() + static_cast<std::ptrdiff_t>(rgba * i));
    to[rgba * i + 3] = 255;
  }
  return picture;
}

Tensor scene_picture(const Scene& scene, const std::vector<std::string>& bands, int64_t long_side,
                     double gamma) {
  UNETD_CHECK(gamma > 0, "gamma ", gamma);
  const Cells cells = average(scene, bands, long_side);
  Tensor picture(cells.shape, DType::u8);
  const auto to = picture.span<uint8_t>();
  for (size_t k = 0; k < 3; ++k) {
    const auto [low, high] = stretch_limits(cells, k);
    for (size_t i = 0; i < cells.counts.size(); ++i) {
      if (cells.counts[i] == 0) continue;
      const double stretched = std::clamp((cells.sums[3 * i + k] - low) / (high - low), 0.0, 1.0);
      to[rgba * i + k] = static_cast<uint8_t>(std::lround(255 * std::pow(stretched, 1 / gamma)));
      to[rgba * i + 3] = 255;
    }
  }
  return picture;
}

Tensor overlay(const Tensor& base, const Tensor& over, double opacity) {
  UNETD_CHECK(base.shape() == over.shape() && base.shape().c == static_cast<int64_t>(rgba),
              "overlay of ", over.shape(), " on ", base.shape());
  Tensor picture = base.clone();
  const auto to = picture.span<uint8_t>();
  const auto from = over.span<uint8_t>();
  for (size_t i = 0; i < to.size(); i += rgba) {
    if (from[i + 3] == 0) continue;
    const double share = to[i + 3] == 0 ? 1 : opacity;
    for (size_t k = 0; k < 3; ++k)
      to[i + k] = static_cast<uint8_t>(std::lround(share * from[i + k] + (1 - share) * to[i + k]));
    to[i + 3] = 255;
  }
  return picture;
}

std::string png_bytes(const Tensor& picture) {
  UNETD_CHECK(picture.dtype() == DType::u8 && picture.shape().n == 1 &&
                  (picture.shape().c == 3 || picture.shape().c == 4),
              "picture ", picture.shape());
  gdal_init();
  static std::atomic<int> serial{0};
  const std::string name = str("/vsimem/unetd-picture-", serial++, ".png");
  const GdalErrors errors(name);
  const DatasetHandle memory = in_memory(picture);
  errors.check(memory != nullptr, "encode", "free some memory");
  DatasetHandle png(GDALCreateCopy(GDALGetDriverByName("PNG"), name.c_str(), memory.get(), TRUE,
                                   nullptr, nullptr, nullptr));
  png.reset();
  vsi_l_offset size = 0;
  const std::unique_ptr<GByte, decltype(&VSIFree)> bytes(
      VSIGetMemFileBuffer(name.c_str(), &size, TRUE), &VSIFree);
  errors.check(bytes != nullptr, "encode", "install GDAL with its PNG driver");
  return {bytes.get(), bytes.get() + size};
}

void write_png(const std::filesystem::path& path, const Tensor& picture, bool overwrite) {
  refuse_existing(path, overwrite);
  write_file(path, png_bytes(picture));
}

}  // namespace unetd::io
