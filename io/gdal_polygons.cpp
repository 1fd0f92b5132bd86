#include "io/gdal_polygons.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/gdal.h"
#include "io/gdal_map_writer.h"
#include "io/gdal_output.h"

#include <string>
#include <vector>

#include <cpl_string.h>
#include <gdal.h>
#include <gdal_alg.h>
#include <ogr_api.h>

namespace unetd::io {
namespace {

constexpr const char* layer_name = "classes";

void add_field(OGRLayerH layer, const char* name, OGRFieldType type) {
  const OGRFieldDefnH field = OGR_Fld_Create(name, type);
  OGR_L_CreateField(layer, field, TRUE);
  OGR_Fld_Destroy(field);
}

OGRLayerH create_layer(GDALDatasetH package, GDALDatasetH map) {
  OGRLayerH layer =
      GDALDatasetCreateLayer(package, layer_name, GDALGetSpatialRef(map), wkbPolygon, nullptr);
  if (layer == nullptr) return nullptr;
  add_field(layer, "class", OFTInteger);
  add_field(layer, "name", OFTString);
  return layer;
}

// One statement per class instead of one write per polygon.
void set_names(GDALDatasetH package, const std::vector<MapClass>& classes) {
  for (size_t i = 0; i < classes.size(); ++i) {
    if (classes[i].name.empty()) continue;
    const std::string quoted = CPLString(classes[i].name).replaceAll("'", "''");
    const std::string sql =
        str("UPDATE ", layer_name, " SET name = '", quoted, "' WHERE class = ", i);
    GDALDatasetReleaseResultSet(package,
                                GDALDatasetExecuteSQL(package, sql.c_str(), nullptr, nullptr));
  }
}

}  // namespace

int64_t polygonise(const std::filesystem::path& map, const std::filesystem::path& target,
                   bool overwrite) {
  refuse_existing(target, overwrite);
  const Dataset dataset = Dataset::open(map);
  const GDALRasterBandH band = GDALGetRasterBand(dataset.handle(), 1);
  if (dataset.bands().size() != 1 || GDALGetRasterDataType(band) != GDT_Byte)
    throw UserError(str(map.string(), " is no class map: give one with a single u8 band"));

  const ScratchFile file(target);
  const GdalErrors errors(target);
  DatasetHandle package(
      GDALCreate(GDALGetDriverByName("GPKG"), file.path().c_str(), 0, 0, 0, GDT_Unknown, nullptr));
  errors.check(package != nullptr, "write", write_remedy);
  // One transaction: SQLite would sync the disk after each polygon otherwise.
  GDALDatasetStartTransaction(package.get(), FALSE);
  const OGRLayerH layer = create_layer(package.get(), dataset.handle());
  errors.check(layer != nullptr, "write", write_remedy);
  const CPLErr result =
      GDALPolygonize(band, GDALGetMaskBand(band), layer, 0, nullptr, nullptr, nullptr);
  errors.check(result == CE_None, "write", write_remedy);
  set_names(package.get(), map_info(map).classes);
  const int64_t polygons = OGR_L_GetFeatureCount(layer, TRUE);
  const OGRErr committed = GDALDatasetCommitTransaction(package.get());
  package.reset();
  errors.check(committed == OGRERR_NONE, "write", write_remedy);
  publish(file.path(), target);
  return polygons;
}

}  // namespace unetd::io
