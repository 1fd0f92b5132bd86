// Vector labels: features burned into a raster, class by class.
#include "engine/base/error.h"
#include "io/gdal.h"
#include "io/gdal_output.h"
#include "io/label_sources.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <cpl_string.h>
#include <gdal.h>
#include <gdal_alg.h>
#include <ogr_api.h>
#include <ogr_srs_api.h>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

constexpr const char* remedy = "give a GeoPackage, GeoJSON or Shapefile that ogrinfo can read";

struct DestroyFeature {
  void operator()(OGRFeatureH feature) const { OGR_F_Destroy(feature); }
};
using Feature = std::unique_ptr<std::remove_pointer_t<OGRFeatureH>, DestroyFeature>;
struct DestroyGeometry {
  void operator()(OGRGeometryH geometry) const { OGR_G_DestroyGeometry(geometry); }
};
using Geometry = std::unique_ptr<std::remove_pointer_t<OGRGeometryH>, DestroyGeometry>;
struct DestroyCrs {
  void operator()(OGRSpatialReferenceH crs) const { OSRRelease(crs); }
};
using Crs = std::unique_ptr<std::remove_pointer_t<OGRSpatialReferenceH>, DestroyCrs>;
struct DestroyTransformation {
  void operator()(OGRCoordinateTransformationH t) const { OCTDestroyCoordinateTransformation(t); }
};
using Transformation =
    std::unique_ptr<std::remove_pointer_t<OGRCoordinateTransformationH>, DestroyTransformation>;

DatasetHandle open_vectors(const fs::path& path, const GdalErrors& errors) {
  DatasetHandle file(GDALOpenEx(path.c_str(),
                                GDAL_OF_VECTOR | GDAL_OF_READONLY | GDAL_OF_VERBOSE_ERROR, nullptr,
                                nullptr, nullptr));
  errors.check(file != nullptr, "open", remedy);
  return file;
}

OGRLayerH layer_of(const DatasetHandle& file, const fs::path& path, const VectorLabels& v) {
  std::string names;
  for (int i = 0; i < GDALDatasetGetLayerCount(file.get()); ++i) {
    const OGRLayerH layer = GDALDatasetGetLayer(file.get(), i);
    const std::string name = OGR_L_GetName(layer);
    if (name == v.layer || (v.layer.empty() && GDALDatasetGetLayerCount(file.get()) == 1))
      return layer;
    names += (names.empty() ? "" : ", ") + name;
  }
  throw UserError(
      str(path.string(),
          v.layer.empty() ? " has several layers or none" : str(" has no layer '", v.layer, "'"),
          ": set `vector.layer` in the class file to one of its own (", names, ")"));
}

int field_of(OGRLayerH layer, const fs::path& path, const std::string& attribute) {
  const OGRFeatureDefnH definition = OGR_L_GetLayerDefn(layer);
  const int field = OGR_FD_GetFieldIndex(definition, attribute.c_str());
  if (field >= 0) return field;
  std::string names;
  for (int i = 0; i < OGR_FD_GetFieldCount(definition); ++i)
    names += str(names.empty() ? "" : ", ", OGR_Fld_GetNameRef(OGR_FD_GetFieldDefn(definition, i)));
  throw UserError(str(path.string(), " has no attribute '", attribute, "': it has ", names));
}

// From the layer's coordinate system to the scene's; null if they are the same.
Transformation transformation(OGRLayerH layer, const fs::path& path, const Grid& scene) {
  const OGRSpatialReferenceH own = OGR_L_GetSpatialRef(layer);
  if (own == nullptr || scene.crs.empty())
    throw UserError(str(own == nullptr ? path.string() : "the scene",
                        " has no coordinate system, so features cannot be placed: assign it with "
                        "ogr2ogr -a_srs or gdal_translate -a_srs"));
  const Crs from(OSRClone(own)), to(OSRNewSpatialReference(nullptr));
  if (OSRSetFromUserInput(to.get(), scene.crs.c_str()) != OGRERR_NONE)
    throw UserError(str("the scene's coordinate system is not understood: ", crs_name(scene.crs)));
  for (const Crs* crs : {&from, &to})
    OSRSetAxisMappingStrategy(crs->get(), OAMS_TRADITIONAL_GIS_ORDER);
  if (OSRIsSame(from.get(), to.get()) != 0) return nullptr;
  Transformation t(OCTNewCoordinateTransformation(from.get(), to.get()));
  if (!t) throw UserError(str("no way from the coordinates of ", path.string(), " to the scene's"));
  return t;
}

// The class that an attribute's value means, by text, class name or number.
class Meaning {
 public:
  explicit Meaning(const ClassMap& map) : map_(map) {}

  std::optional<uint8_t> operator()(const std::string& text) {
    if (const auto found = map_.texts.find(text); found != map_.texts.end()) return found->second;
    const auto& classes = map_.classes;
    for (size_t i = 0; i < classes.size(); ++i)
      if (classes[i].name == text || std::to_string(classes[i].value) == text)
        return static_cast<uint8_t>(i);
    for (const auto& [value, cls] : map_.further)
      if (std::to_string(value) == text) return cls;
    for (const int64_t value : map_.ignore)
      if (std::to_string(value) == text) return ignore_label;
    ++unknown_[text];
    return std::nullopt;
  }

  void throw_if_unknown(const fs::path& path) const {
    if (unknown_.empty()) return;
    constexpr size_t listed = 8;
    std::string list;
    size_t n = 0;
    for (const auto& [text, features] : unknown_) {
      if (n++ == listed) break;
      list += str(list.empty() ? "" : ", ", "'", text, "' (", features, " features)");
    }
    throw UserError(str(path.string(), " has values that no class has: ", list,
                        unknown_.size() > listed ? " and more" : "",
                        "; add them to a class's `texts`, or to `ignore`"));
  }

 private:
  const ClassMap& map_;
  std::map<std::string, int64_t> unknown_;
};

using GeometriesByClass = std::map<uint8_t, std::vector<Geometry>>;

GeometriesByClass read_features(OGRLayerH layer, int field, const Transformation& transform,
                                const fs::path& path, const ClassMap& map,
                                const GdalErrors& errors) {
  GeometriesByClass found;
  Meaning meaning(map);
  OGR_L_ResetReading(layer);
  while (const Feature feature{OGR_L_GetNextFeature(layer)}) {
    const OGRGeometryH shape = OGR_F_GetGeometryRef(feature.get());
    if (shape == nullptr) continue;
    const std::optional<uint8_t> cls = meaning(OGR_F_GetFieldAsString(feature.get(), field));
    if (!cls) continue;
    Geometry geometry(OGR_G_Clone(shape));
    errors.check(!transform || OGR_G_Transform(geometry.get(), transform.get()) == OGRERR_NONE,
                 "transform features of", "mend them, or bring them to the scene's coordinates");
    found[*cls].push_back(std::move(geometry));
  }
  errors.check(true, "read", remedy);
  meaning.throw_if_unknown(path);
  return found;
}

}  // namespace

bool is_vector_file(const fs::path& path) {
  constexpr const char* suffixes[] = {".gpkg", ".geojson", ".json", ".shp", ".fgb"};
  return std::ranges::find(suffixes, path.extension().string()) != std::end(suffixes);
}

Tensor burn_vectors(const fs::path& path, const Grid& scene, const ClassMap& map,
                    const Share& share) {
  if (map.vector.attribute.empty())
    throw UsageError(str("labels ", path.string(),
                         " are vectors: say in the class file which attribute names the class "
                         "(vector: {attribute: ...})"));
  if (!scene.georeferenced())
    throw UserError(str("the scene has no coordinates, so ", path.string(), " cannot be placed"));
  gdal_init();
  const GdalErrors errors(path);
  const DatasetHandle file = open_vectors(path, errors);
  const OGRLayerH layer = layer_of(file, path, map.vector);
  const int field = field_of(layer, path, map.vector.attribute);
  const Transformation transform = transformation(layer, path, scene);
  const GeometriesByClass shapes = read_features(layer, field, transform, path, map, errors);

  Tensor labels({1, scene.height, scene.width, 1}, DType::u8);
  std::ranges::fill(labels.span<uint8_t>(), map.background.value_or(ignore_label));
  const DatasetHandle raster = raster_over(scene, DType::u8, labels.data(), errors);
  CPLStringList options;
  options.SetNameValue("ALL_TOUCHED", map.vector.all_touched ? "TRUE" : "FALSE");
  double burned = 0;
  for (const auto& [cls, geometries] : shapes) {  // ascending: later classes lie on top
    std::vector<OGRGeometryH> handles;
    for (const Geometry& g : geometries) handles.push_back(g.get());
    const std::vector<double> values(handles.size(), cls);
    int band = 1;
    const CPLErr result = GDALRasterizeGeometries(
        raster.get(), 1, &band, static_cast<int>(handles.size()), handles.data(), nullptr, nullptr,
        values.data(), options.List(), nullptr, nullptr);
    errors.check(result == CE_None, "burn", remedy);
    if (share) share(++burned / static_cast<double>(shapes.size()));
  }
  GDALFlushCache(raster.get());
  return labels;
}

}  // namespace unetd::io
