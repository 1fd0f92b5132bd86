#include "io/gdal_map_writer.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/threads.h"
#include "io/gdal.h"
#include "io/gdal_output.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

#include <cpl_string.h>
#include <gdal.h>
#include <ogr_srs_api.h>

namespace unetd::io {
namespace {

constexpr uint8_t nodata_u8 = 255;
constexpr double scale_steps = 250;  // u8 value of probability 1
constexpr float nodata_f32 = std::numeric_limits<float>::quiet_NaN();

// How an Emit is stored.
struct Encoding {
  DType dtype;
  double nodata;
  const char* overview;  // resampling of the overviews
  const char* predictor;
};

Encoding encoding_of(Emit emit) {
  switch (emit) {
    case Emit::classes:
      return {DType::u8, nodata_u8, "MODE", "NO"};
    case Emit::scaled_probabilities:
      return {DType::u8, nodata_u8, "AVERAGE", "YES"};
    case Emit::probabilities:
    case Emit::values:
      return {DType::f32, nodata_f32, "AVERAGE", "YES"};
    case Emit::logits:
      return {DType::f32, nodata_f32, "AVERAGE", "NO"};
  }
  throw Error("unknown Emit");
}

void check_options(const MapOptions& o) {
  const auto classes = static_cast<int64_t>(o.classes.size());
  UNETD_CHECK(classes >= 1 && classes <= nodata_u8, "map of ", classes, " classes");
  UNETD_CHECK(o.emit != Emit::values || (classes == 1 && o.outputs == 1), "a map of the values of ",
              o.outputs, " outputs");
  UNETD_CHECK(o.emit == Emit::values || o.unit.empty(), "a unit of what are no values");
  const bool told_apart = o.outputs == classes || (o.outputs == 1 && classes == 2);
  UNETD_CHECK(o.emit == Emit::classes || told_apart, "network of ", o.outputs, " outputs for ",
              classes, " classes");
}

// Blocks of a scene no larger than a few of them; the COG driver takes 128 and more.
int64_t block_size(const Grid& grid) {
  const int64_t side = std::max(grid.width, grid.height);
  return side >= 2048 ? 512 : side >= 512 ? 256 : 128;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

void set_grid(GDALDatasetH dataset, const Grid& grid) {
  if (grid.geotransform) {
    auto numbers = *grid.geotransform;
    GDALSetGeoTransform(dataset, numbers.data());
    if (!grid.crs.empty()) GDALSetProjection(dataset, grid.crs.c_str());
  }
  if (grid.geotransform || grid.control_points.empty()) return;
  std::vector<GDAL_GCP> points(grid.control_points.size());
  GDALInitGCPs(static_cast<int>(points.size()), points.data());
  for (size_t i = 0; i < points.size(); ++i) {
    const GroundControlPoint& p = grid.control_points[i];
    points[i].dfGCPPixel = p.column;
    points[i].dfGCPLine = p.row;
    points[i].dfGCPX = p.x;
    points[i].dfGCPY = p.y;
    points[i].dfGCPZ = p.z;
  }
  GDALSetGCPs(dataset, static_cast<int>(points.size()), points.data(), grid.crs.c_str());
  GDALDeinitGCPs(static_cast<int>(points.size()), points.data());
}

void set_colours(GDALRasterBandH band, const std::vector<MapClass>& classes) {
  const GDALColorTableH table = GDALCreateColorTable(GPI_RGB);
  for (size_t i = 0; i < classes.size(); ++i) {
    const auto& c = classes[i].colour;
    const GDALColorEntry entry{c[0], c[1], c[2], 255};
    GDALSetColorEntry(table, static_cast<int>(i), &entry);
  }
  const GDALColorEntry transparent{0, 0, 0, 0};
  GDALSetColorEntry(table, nodata_u8, &transparent);
  GDALSetRasterColorTable(band, table);
  GDALDestroyColorTable(table);
}

void set_attribute_table(GDALRasterBandH band, const std::vector<MapClass>& classes) {
  const GDALRasterAttributeTableH table = GDALCreateRasterAttributeTable();
  GDALRATCreateColumn(table, "Value", GFT_Integer, GFU_MinMax);
  GDALRATCreateColumn(table, "Class", GFT_String, GFU_Name);
  GDALRATCreateColumn(table, "Red", GFT_Integer, GFU_Red);
  GDALRATCreateColumn(table, "Green", GFT_Integer, GFU_Green);
  GDALRATCreateColumn(table, "Blue", GFT_Integer, GFU_Blue);
  for (int i = 0; i < static_cast<int>(classes.size()); ++i) {
    const MapClass& c = classes[static_cast<size_t>(i)];
    GDALRATSetValueAsInt(table, i, 0, i);
    GDALRATSetValueAsString(table, i, 1, c.name.c_str());
    for (int k = 0; k < 3; ++k)
      GDALRATSetValueAsInt(table, i, 2 + k, c.colour[static_cast<size_t>(k)]);
  }
  GDALSetDefaultRAT(band, table);
  GDALDestroyRasterAttributeTable(table);
}

// The names go into the TIFF's own metadata, too: GDAL keeps the rest of them in a side file.
void set_class_names(GDALRasterBandH band, const std::vector<MapClass>& classes) {
  CPLStringList names;
  for (size_t i = 0; i < classes.size(); ++i) {
    names.AddString(classes[i].name.c_str());
    GDALSetMetadataItem(band, str("CLASS_", i).c_str(), classes[i].name.c_str(), nullptr);
  }
  GDALSetRasterCategoryNames(band, names.List());
  GDALSetDescription(band, "class");
}

// The inverse of the above. A TIFF's colour table always has 256 entries: black ones without a name
// after the last class are no classes.
std::vector<MapClass> read_classes(GDALRasterBandH band) {
  const GDALColorTableH table = GDALGetRasterColorTable(band);
  char** names = GDALGetRasterCategoryNames(band);
  std::vector<MapClass> classes;
  const int entries =
      table == nullptr ? 0 : std::min<int>(GDALGetColorEntryCount(table), nodata_u8);
  for (int i = 0; i < entries; ++i) {
    const GDALColorEntry* c = GDALGetColorEntry(table, i);
    classes.push_back(
        {i < CSLCount(names) ? names[i] : "",
         {static_cast<uint8_t>(c->c1), static_cast<uint8_t>(c->c2), static_cast<uint8_t>(c->c3)}});
  }
  const auto used = [](const MapClass& c) {
    return !c.name.empty() || c.colour != std::array<uint8_t, 3>{};
  };
  while (!classes.empty() && !used(classes.back())) classes.pop_back();
  return classes;
}

void describe_bands(GDALDatasetH dataset, const MapOptions& options) {
  for (int i = 1; i <= GDALGetRasterCount(dataset); ++i) {
    const GDALRasterBandH band = GDALGetRasterBand(dataset, i);
    GDALSetRasterNoDataValue(band, encoding_of(options.emit).nodata);
    if (options.emit == Emit::classes) {
      set_colours(band, options.classes);
      set_class_names(band, options.classes);
      set_attribute_table(band, options.classes);
      continue;
    }
    const auto index =
        options.outputs == 1 ? options.classes.size() - 1 : static_cast<size_t>(i - 1);
    GDALSetDescription(band, options.classes[index].name.c_str());
    if (options.emit == Emit::scaled_probabilities) GDALSetRasterScale(band, 1 / scale_steps);
    if (!options.unit.empty()) GDALSetRasterUnitType(band, options.unit.c_str());
  }
}

// Pixels {1, h, w, c} of type T from values of the same extents: pixel = store(value), but `nodata`
// where there are none.
template <class T, class V, class F>
Tensor encode(const Tensor& values, const Tensor& valid, T nodata, F&& store) {
  Tensor pixels(values.shape(), dtype_of<T>);
  const auto ok = valid.span<uint8_t>();
  const auto from = values.span<V>();
  const auto to = pixels.span<T>();
  const auto c = static_cast<size_t>(values.shape().c);
  for (size_t i = 0; i < to.size(); ++i) to[i] = ok[i / c] == 0 ? nodata : store(from[i]);
  return pixels;
}

Tensor encode(const Tensor& values, const Tensor& valid, const MapOptions& o) {
  // NaN would pass for nodata; the classes of pixels whose outputs are NaN are beyond the last one.
  const auto number = [](bool is) { UNETD_CHECK(is, "the network's output is not a number"); };
  switch (o.emit) {
    case Emit::classes:
      return encode<uint8_t, uint8_t>(values, valid, nodata_u8, [&](uint8_t k) {
        number(k < o.classes.size());
        return k;
      });
    case Emit::scaled_probabilities:
      return encode<uint8_t, float>(values, valid, nodata_u8, [&](float p) {
        number(!std::isnan(p));
        return static_cast<uint8_t>(std::lround(std::clamp<double>(p, 0, 1) * scale_steps));
      });
    default:
      return encode<float, float>(values, valid, nodata_f32, [&](float v) {
        number(!std::isnan(v));
        return v;
      });
  }
}

GDALDriverH driver(const char* name) {
  const GDALDriverH found = GDALGetDriverByName(name);
  if (found == nullptr)
    throw UserError(str("this GDAL has no ", name, " driver: install GDAL 3.1+"));
  return found;
}

// Writing parts needs random access, which a COG does not give: they go to a plain tiled TIFF
// first.
DatasetHandle create_draft(const std::filesystem::path& path, const Grid& grid,
                           const MapOptions& options) {
  const std::string block = std::to_string(block_size(grid));
  CPLStringList creation;
  creation.SetNameValue("TILED", "YES");
  creation.SetNameValue("BLOCKXSIZE", block.c_str());
  creation.SetNameValue("BLOCKYSIZE", block.c_str());
  creation.SetNameValue("BIGTIFF", "IF_SAFER");
  creation.SetNameValue("SPARSE_OK", "TRUE");  // blocks that are never written read as nodata
  creation.SetNameValue("INTERLEAVE", "PIXEL");
  const int bands = options.emit == Emit::classes ? 1 : static_cast<int>(options.outputs);
  DatasetHandle draft(GDALCreate(driver("GTiff"), path.c_str(), static_cast<int>(grid.width),
                                 static_cast<int>(grid.height), bands,
                                 gdal_type(encoding_of(options.emit).dtype), creation.List()));
  if (!draft) return draft;
  set_grid(draft.get(), grid);
  for (const auto& [key, value] : options.metadata)
    GDALSetMetadataItem(draft.get(), key.c_str(), value.c_str(), nullptr);
  describe_bands(draft.get(), options);
  return draft;
}

CPLStringList cog_options(const Grid& grid, const MapOptions& options) {
  const Encoding encoding = encoding_of(options.emit);
  const std::string compression =
      options.emit == Emit::logits ? "NONE" : upper(options.compression);
  CPLStringList creation;
  creation.SetNameValue("BLOCKSIZE", std::to_string(block_size(grid)).c_str());
  creation.SetNameValue("COMPRESS", compression.c_str());
  creation.SetNameValue("PREDICTOR", encoding.predictor);
  creation.SetNameValue("OVERVIEW_RESAMPLING", encoding.overview);
  creation.SetNameValue("BIGTIFF", "IF_SAFER");
  creation.SetNameValue("NUM_THREADS", std::to_string(thread_count()).c_str());
  return creation;
}

void check_compression(const std::string& name) {
  const char* text = GDALGetMetadataItem(driver("COG"), GDAL_DMD_CREATIONOPTIONLIST, nullptr);
  const std::string known = text == nullptr ? "" : text;
  const bool lossless = name == "deflate" || name == "zstd";
  if (!lossless || known.find("<Value>" + upper(name) + "</Value>") == std::string::npos)
    throw UsageError(
        str("compression '", name, "' is not available: use deflate", lossless ? "" : " or zstd"));
}

}  // namespace

Emit parse_emit(std::string_view name) {
  if (name == "classes") return Emit::classes;
  if (name == "probabilities") return Emit::probabilities;
  if (name == "scaled_probabilities") return Emit::scaled_probabilities;
  if (name == "logits") return Emit::logits;
  if (name == "values") return Emit::values;
  throw UsageError(str("unknown output '", name,
                       "': use classes, probabilities, scaled_probabilities, logits or values"));
}

struct MapWriter::State {
  std::filesystem::path target;
  Grid grid;
  MapOptions options;
  ScratchFile draft_file;
  DatasetHandle draft;

  ~State() {
    const GdalErrors ignored(target);  // the draft goes away: what GDAL says at its close is moot
    draft.reset();
  }
};

MapWriter::MapWriter(const std::filesystem::path& target, const Grid& grid, MapOptions options) {
  gdal_init();
  check_options(options);
  check_compression(options.compression);
  refuse_existing(target, options.overwrite);
  const GdalErrors errors(target);
  state_.reset(new State{target, grid, std::move(options), ScratchFile(target), nullptr});
  state_->draft = create_draft(state_->draft_file.path(), grid, state_->options);
  errors.check(state_->draft != nullptr, "write", write_remedy);
}

MapWriter::MapWriter(MapWriter&&) noexcept = default;
MapWriter& MapWriter::operator=(MapWriter&&) noexcept = default;
MapWriter::~MapWriter() = default;

void MapWriter::write(const Window& window, const Tensor& values, const Tensor& valid) {
  UNETD_CHECK(state_ && state_->draft, "write after finish");
  UNETD_CHECK(state_->grid.whole().contains(window), window, " outside the map");
  const int64_t bands = state_->options.emit == Emit::classes ? 1 : state_->options.outputs;
  const Shape expected{1, window.height, window.width, bands};
  UNETD_CHECK(values.shape() == expected && valid.count() == expected.pixels(), "values ",
              values.shape(), " and validity ", valid.shape(), " for ", window);
  Tensor pixels = encode(values, valid, state_->options);
  const int w = static_cast<int>(window.width), h = static_cast<int>(window.height);
  const auto sample = static_cast<GSpacing>(size_of(pixels.dtype()));
  const GSpacing pixel = sample * pixels.shape().c;
  const GdalErrors errors(state_->target);
  const CPLErr result = GDALDatasetRasterIOEx(
      state_->draft.get(), GF_Write, static_cast<int>(window.x), static_cast<int>(window.y), w, h,
      pixels.data(), w, h, gdal_type(pixels.dtype()), static_cast<int>(pixels.shape().c), nullptr,
      pixel, pixel * w, sample, nullptr);
  errors.check(result == CE_None, "write", write_remedy);
}

void MapWriter::finish() {
  UNETD_CHECK(state_ && state_->draft, "finish called twice");
  const std::filesystem::path& target = state_->target;
  const ScratchFile cog(target);
  const GdalErrors errors(target);
  state_->draft.reset();
  errors.check(true, "write", write_remedy);

  DatasetHandle draft(GDALOpen(state_->draft_file.path().c_str(), GA_ReadOnly));
  errors.check(draft != nullptr, "write", write_remedy);
  DatasetHandle copy(GDALCreateCopy(driver("COG"), cog.path().c_str(), draft.get(), TRUE,
                                    cog_options(state_->grid, state_->options).List(), nullptr,
                                    nullptr));
  const bool created = copy != nullptr;
  copy.reset();
  errors.check(created, "write", write_remedy);

  std::error_code ignored;
  // Side files of the map that this one replaces would describe it wrongly.
  for (const char* suffix : {".aux.xml", ".ovr", ".msk"})
    std::filesystem::remove(target.string() + suffix, ignored);
  if (std::filesystem::exists(cog.beside(".aux.xml")))
    publish(cog.beside(".aux.xml"), target.string() + ".aux.xml");
  publish(cog.path(), target);
}

MapInfo map_info(const std::filesystem::path& map) {
  const Dataset dataset = Dataset::open(map);
  const GDALRasterBandH band = GDALGetRasterBand(dataset.handle(), 1);
  const auto structure = [&](const char* key) -> std::string {
    const char* value = GDALGetMetadataItem(dataset.handle(), key, "IMAGE_STRUCTURE");
    return value == nullptr ? "" : value;
  };
  MapInfo info;
  int block_width = 0, block_height = 0;
  GDALGetBlockSize(band, &block_width, &block_height);
  info.block = block_height;
  info.overviews = GDALGetOverviewCount(band);
  info.cloud_optimised = structure("LAYOUT") == "COG";
  info.compression = structure("COMPRESSION");
  char** items = GDALGetMetadata(dataset.handle(), nullptr);
  for (int i = 0; i < CSLCount(items); ++i) {
    const std::string text = items[i];
    const size_t equals = text.find('=');
    info.metadata.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  info.classes = read_classes(band);
  info.description = dataset.bands()[0].description;
  const char* const unit = GDALGetRasterUnitType(band);
  info.unit = unit == nullptr ? "" : unit;
  return info;
}

}  // namespace unetd::io
