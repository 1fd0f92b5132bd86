// What the files io/gdal*.cpp share: GDAL's name for an element type, an owned handle, files that
// vanish unless published, and the rule about existing outputs. Internal to io/gdal*.cpp, for it
// includes GDAL's headers.
#pragma once

#include "engine/base/dtype.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/gdal.h"

#include <filesystem>
#include <initializer_list>
#include <memory>
#include <system_error>
#include <utility>

#include <gdal.h>

namespace unetd::io {

inline GDALDataType gdal_type(DType t) {
  switch (t) {
    case DType::u8:
      return GDT_Byte;
    case DType::u16:
      return GDT_UInt16;
    case DType::i16:
      return GDT_Int16;
    case DType::i32:
      return GDT_Int32;
    case DType::f64:
      return GDT_Float64;
    default:
      UNETD_CHECK(t == DType::f32, "no raster type for ", name_of(t));
      return GDT_Float32;
  }
}

struct CloseDataset {
  void operator()(void* dataset) const { GDALClose(dataset); }
};
// Closing flushes, and GDAL may notice a full disk only then: close inside a GdalErrors scope.
using DatasetHandle = std::unique_ptr<void, CloseDataset>;

inline constexpr const char* write_remedy =
    "check that its folder exists, can be written to and has free space";

// A raster of one band over samples that stay the caller's, at the grid's place but without its
// coordinate system. Throws UserError.
DatasetHandle raster_over(const Grid& grid, DType dtype, void* samples, const GdalErrors& errors);

// Throws UserError if `target` exists and may not be replaced.
inline void refuse_existing(const std::filesystem::path& target, bool overwrite) {
  if (!overwrite && std::filesystem::exists(target))
    throw UserError(str(target.string(), " exists; choose another name or allow --overwrite"));
}

// A temporary file beside its target, removed at the end of the scope with whatever GDAL or SQLite
// put next to it.
class ScratchFile {
 public:
  explicit ScratchFile(const std::filesystem::path& target) : path_(temporary_beside(target)) {}
  ~ScratchFile() {
    std::error_code ignored;
    for (const char* suffix : {"", ".aux.xml", ".ovr.tmp", "-journal", "-wal", "-shm"})
      std::filesystem::remove(beside(suffix), ignored);
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path beside(const char* suffix) const { return path_.string() + suffix; }

 private:
  std::filesystem::path path_;
};

}  // namespace unetd::io
