// A thin owner of a GDAL data set in which every failure is an exception that names the file. Only
// io/gdal* include GDAL's headers; the rest of the project sees this one.
// GDAL data sets are not safe for concurrent use: one Dataset per thread.
#pragma once

#include "engine/base/dtype.h"
#include "io/grid.h"
#include "io/resample.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace unetd::io {

// While one is alive on a thread, GDAL's failures on that thread are collected in it instead of
// going to stderr, and its warnings go to log_warning or count as failures, too. Scopes nest.
class GdalErrors {
 public:
  enum class Warnings : uint8_t { log, fail };

  explicit GdalErrors(std::filesystem::path file, Warnings warnings = Warnings::log);
  ~GdalErrors();
  GdalErrors(const GdalErrors&) = delete;
  GdalErrors& operator=(const GdalErrors&) = delete;

  bool any() const { return !messages_.empty(); }
  // "cannot <verb> <file>: <what GDAL said first>; <remedy>". With no message yet it says so.
  [[noreturn]] void fail(const std::string& verb, const std::string& remedy) const;
  // fail() if GDAL reported a failure so far or `ok` is false.
  void check(bool ok, const std::string& verb, const std::string& remedy) const {
    if (!ok || any()) fail(verb, remedy);
  }

 private:
  std::filesystem::path file_;
  Warnings warnings_;
  std::vector<std::string> messages_;
};

// What one band of a file says about itself. Absent scale and offset are 1 and 0.
struct RasterBand {
  std::string description;
  std::string type;          // GDAL's name of the element type, "UInt16"
  DType dtype = DType::f32;  // u8, u16 or i16 as stored; f32 for every other real type
  bool complex = false, integer = true, alpha = false;
  std::optional<double> nodata;
  double scale = 1, offset = 0;
  bool states_scale = false;  // the band itself does, rather than a product's metadata
};

class Dataset {
 public:
  // Opens for reading. Throws UserError when it is no raster GDAL can read or when the header asks
  // for blocks or sizes that no sane file has.
  static Dataset open(const std::filesystem::path& path);
  // The same, brought to another grid as it is read (GDAL's warper with exact transformation):
  // one f32 band, NaN where the file has no data or does not reach. Throws UserError also for a
  // file or grid without a coordinate system, and a file of several bands.
  static Dataset open_on(const std::filesystem::path& path, const Grid& grid,
                         Resampling resampling);
  Dataset(Dataset&& other) noexcept;
  Dataset& operator=(Dataset&& other) noexcept;
  ~Dataset();

  const std::filesystem::path& path() const { return path_; }
  const Grid& grid() const { return grid_; }
  const std::vector<RasterBand>& bands() const { return bands_; }
  // When it was sensed, "2022-10-05", where a metadata item says so; empty if none does.
  const std::string& date() const { return date_; }
  // Does the file carry a mask of its own (a .msk file, an internal mask, an alpha band)?
  bool has_mask() const { return has_mask_; }

  // Reads `bands` (from 0) of `window`, which lies inside, converted to `as` and interleaved by
  // pixel. Steps are in elements; 0 means dense. Throws UserError on damaged data, and on whatever
  // GDAL warns of: a codec that had to guess made up pixels.
  void read(const Window& window, std::span<const int> bands, DType as, void* out,
            int64_t pixel_step = 0, int64_t row_step = 0) const;
  // One byte per pixel of the file's own mask: 0 where there is no data. Requires has_mask().
  void read_mask(const Window& window, uint8_t* out) const;

  void* handle() const { return handle_; }  // GDALDatasetH, for io/gdal*.cpp

 private:
  Dataset(std::filesystem::path path, void* handle);
  // Takes over a handle and reads what it says about itself.
  Dataset(std::filesystem::path path, void* handle, const GdalErrors& errors);

  std::filesystem::path path_;
  void* handle_ = nullptr;
  Grid grid_;
  std::vector<RasterBand> bands_;
  std::string date_;
  bool has_mask_ = false;
};

// Registers GDAL's drivers, once per process.
void gdal_init();

// Do two texts (WKT, or a code such as "EPSG:32629") mean the same system, whatever their wording?
bool same_crs(const std::string& a, const std::string& b);
// "EPSG:32629" where the WKT carries a code, else its name, else "no CRS".
std::string crs_name(const std::string& wkt);

}  // namespace unetd::io
