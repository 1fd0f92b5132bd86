#include "io/gdal_geotiff.h"

#include "engine/base/error.h"
#include "engine/base/threads.h"
#include "io/gdal.h"
#include "io/gdal_output.h"

#include <utility>

#include <cpl_string.h>
#include <gdal.h>

namespace unetd::io {
namespace {

// The predictor stores differences between neighbours: of integers (2) or of a float's bytes (3).
CPLStringList creation_options(DType t) {
  CPLStringList options;
  options.SetNameValue("TILED", "YES");
  options.SetNameValue("COMPRESS", "DEFLATE");
  options.SetNameValue("PREDICTOR", t == DType::f32 ? "3" : "2");
  options.SetNameValue("INTERLEAVE", "BAND");
  options.SetNameValue("BIGTIFF", "IF_SAFER");
  options.SetNameValue("NUM_THREADS", std::to_string(thread_count()).c_str());
  return options;
}

void describe(GDALRasterBandH band, const GeoTiffBand& what) {
  GDALSetDescription(band, what.name.c_str());
  if (what.nodata) GDALSetRasterNoDataValue(band, *what.nodata);
  if (what.scale == 1 && what.offset == 0) return;
  GDALSetRasterScale(band, what.scale);
  GDALSetRasterOffset(band, what.offset);
}

}  // namespace

struct GeoTiffWriter::State {
  std::filesystem::path target;
  Grid grid;
  DType dtype;
  int bands;
  ScratchFile scratch;
  DatasetHandle dataset;

  ~State() {
    const GdalErrors ignored(target);  // an unfinished file goes away: its close has nothing to say
    dataset.reset();
  }
};

GeoTiffWriter::GeoTiffWriter(const std::filesystem::path& target, const Grid& grid, DType dtype,
                             const std::vector<GeoTiffBand>& bands, bool overwrite) {
  gdal_init();
  refuse_existing(target, overwrite);
  const GdalErrors errors(target);
  const auto count = static_cast<int>(bands.size());
  state_.reset(new State{target, grid, dtype, count, ScratchFile(target), nullptr});
  state_->dataset.reset(GDALCreate(GDALGetDriverByName("GTiff"), state_->scratch.path().c_str(),
                                   static_cast<int>(grid.width), static_cast<int>(grid.height),
                                   count, gdal_type(dtype), creation_options(dtype).List()));
  errors.check(state_->dataset != nullptr, "write", write_remedy);
  if (grid.geotransform) {
    auto numbers = *grid.geotransform;
    GDALSetGeoTransform(state_->dataset.get(), numbers.data());
  }
  if (!grid.crs.empty()) GDALSetProjection(state_->dataset.get(), grid.crs.c_str());
  for (int b = 0; b < count; ++b)
    describe(GDALGetRasterBand(state_->dataset.get(), b + 1), bands[static_cast<size_t>(b)]);
  errors.check(true, "write", write_remedy);
}

GeoTiffWriter::GeoTiffWriter(GeoTiffWriter&&) noexcept = default;
GeoTiffWriter& GeoTiffWriter::operator=(GeoTiffWriter&&) noexcept = default;
GeoTiffWriter::~GeoTiffWriter() = default;

void GeoTiffWriter::write_rows(int64_t first_row, int64_t rows, const void* samples) {
  UNETD_CHECK(state_ && state_->dataset, "write after finish");
  const Grid& grid = state_->grid;
  UNETD_CHECK(grid.whole().contains({0, first_row, grid.width, rows}), "rows ", first_row, " to ",
              first_row + rows, " of ", grid.height);
  const GdalErrors errors(state_->target);
  const auto width = static_cast<int>(grid.width), height = static_cast<int>(rows);
  // GDAL takes a non-const pointer for reading and writing alike.
  const CPLErr result =
      GDALDatasetRasterIOEx(state_->dataset.get(), GF_Write, 0, static_cast<int>(first_row), width,
                            height, const_cast<void*>(samples), width, height,
                            gdal_type(state_->dtype), state_->bands, nullptr, 0, 0, 0, nullptr);
  errors.check(result == CE_None, "write", write_remedy);
}

void GeoTiffWriter::finish() {
  UNETD_CHECK(state_ && state_->dataset, "finish called twice");
  const std::filesystem::path& target = state_->target;
  {
    const GdalErrors errors(target);
    state_->dataset.reset();
    errors.check(true, "write", write_remedy);
  }
  // A side file of the raster that this one replaces would describe it wrongly.
  std::error_code ignored;
  std::filesystem::remove(target.string() + ".aux.xml", ignored);
  publish(state_->scratch.path(), target);
}

}  // namespace unetd::io
