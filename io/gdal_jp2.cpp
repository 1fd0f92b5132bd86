#include "io/gdal_jp2.h"

#include "engine/base/error.h"
#include "io/gdal.h"
#include "io/gdal_output.h"

#include <cpl_string.h>
#include <ogr_srs_api.h>

namespace unetd::io {
namespace {

void set_crs(const DatasetHandle& raster, const Grid& grid, const GdalErrors& errors) {
  const OGRSpatialReferenceH crs = OSRNewSpatialReference(nullptr);
  const bool known = OSRSetFromUserInput(crs, grid.crs.c_str()) == OGRERR_NONE &&
                     GDALSetSpatialRef(raster.get(), crs) == CE_None;
  OSRRelease(crs);
  errors.check(known, "georeference", "give the grid a coordinate system");
}

}  // namespace

void write_jp2(const std::filesystem::path& target, const Grid& grid, std::span<uint16_t> samples) {
  UNETD_CHECK(std::ssize(samples) == grid.width * grid.height, samples.size(), " samples for ",
              grid.width, "x", grid.height, " pixels");
  gdal_init();
  const GDALDriverH driver = GDALGetDriverByName("JP2OpenJPEG");
  if (driver == nullptr)
    throw UserError(str("cannot write ", target.string(),
                        ": this GDAL has no JP2OpenJPEG driver; install one that has"));
  const ScratchFile scratch(target);
  {
    const GdalErrors errors(target);
    const DatasetHandle raster = raster_over(grid, DType::u16, samples.data(), errors);
    set_crs(raster, grid, errors);
    CPLStringList options;
    for (const auto& [key, value] : {std::pair{"REVERSIBLE", "YES"},
                                     {"QUALITY", "100"},
                                     {"BLOCKXSIZE", "1024"},
                                     {"BLOCKYSIZE", "1024"}})
      options.SetNameValue(key, value);
    DatasetHandle copy(GDALCreateCopy(driver, scratch.path().c_str(), raster.get(), FALSE,
                                      options.List(), nullptr, nullptr));
    errors.check(copy != nullptr, "write", write_remedy);
    copy.reset();
    errors.check(true, "write", write_remedy);
  }
  publish(scratch.path(), target);
}

}  // namespace unetd::io
