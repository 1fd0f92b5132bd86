#include "io/gdal.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "io/date.h"
#include "io/gdal_output.h"
#include "io/gdal_zip.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string_view>
#include <type_traits>
#include <utility>

#include <cpl_conv.h>
#include <cpl_error.h>
#include <cpl_string.h>
#include <gdal.h>
#include <ogr_srs_api.h>

namespace unetd::io {
namespace {

// One decoded block has to fit in memory; no real file comes near this.
constexpr int64_t largest_block = int64_t{1} << 30;
// 262,144 pixels squared: beyond it a header is damaged, or the file is not meant for us.
constexpr int64_t largest_image = int64_t{1} << 36;
// Decoded blocks that GDAL keeps: two rows of tiles of all bands of a Sentinel-2 product take some
// 350 MiB. GDAL's own default, a share of the memory, would grow with the machine.
constexpr GIntBig block_cache = GIntBig{768} << 20;

const char* const damaged =
    "the file is damaged or incomplete: copy or download it again, `gdalinfo -checksum` tells "
    "whether "
    "it is whole";

GDALDatasetH dataset(void* handle) { return static_cast<GDALDatasetH>(handle); }

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) text.pop_back();
  return text;
}

std::string text_or_empty(const char* text) { return text == nullptr ? "" : text; }

DType tensor_type(GDALDataType t) {
  switch (t) {
    case GDT_Byte:
      return DType::u8;
    case GDT_UInt16:
      return DType::u16;
    case GDT_Int16:
      return DType::i16;
    default:
      return DType::f32;
  }
}

void check_size(GDALDatasetH handle, const GdalErrors& errors) {
  const int64_t width = GDALGetRasterXSize(handle), height = GDALGetRasterYSize(handle);
  if (GDALGetRasterCount(handle) == 0)
    errors.fail("read",
                "it holds no raster band; a product with subdatasets is given band by band");
  if (width * height > largest_image)
    errors.fail(str("read a raster of ", width, "x", height, " pixels from"),
                "the header is damaged, or cut the part you need with gdal_translate -srcwin");
  const GDALRasterBandH first = GDALGetRasterBand(handle, 1);
  int block_width = 0, block_height = 0;
  GDALGetBlockSize(first, &block_width, &block_height);
  const int64_t bytes =
      int64_t{block_width} * block_height * GDALGetDataTypeSizeBytes(GDALGetRasterDataType(first));
  if (bytes > largest_block)
    errors.fail(str("read blocks of ", block_width, "x", block_height, " pixels from"),
                "rewrite it in tiles: gdal_translate -co TILED=YES");
}

Grid read_grid(GDALDatasetH handle) {
  Grid grid;
  grid.width = GDALGetRasterXSize(handle);
  grid.height = GDALGetRasterYSize(handle);
  std::array<double, 6> transform{};
  if (GDALGetGeoTransform(handle, transform.data()) == CE_None) grid.geotransform = transform;
  grid.crs = text_or_empty(GDALGetProjectionRef(handle));
  const GDAL_GCP* points = GDALGetGCPs(handle);
  for (int i = 0; i < GDALGetGCPCount(handle); ++i)
    grid.control_points.push_back({points[i].dfGCPPixel, points[i].dfGCPLine, points[i].dfGCPX,
                                   points[i].dfGCPY, points[i].dfGCPZ});
  if (grid.crs.empty()) grid.crs = text_or_empty(GDALGetGCPProjection(handle));
  return grid;
}

// Sentinel-2 converters keep the product's offset and divisor as metadata of the file:
// reflectance = (DN + BOA_ADD_OFFSET) / BOA_QUANTIFICATION_VALUE; RADIO_ADD_OFFSET in level 1C.
void apply_product_metadata(GDALDatasetH handle, RasterBand& band) {
  const char* offset = GDALGetMetadataItem(handle, "BOA_ADD_OFFSET", nullptr);
  if (offset == nullptr) offset = GDALGetMetadataItem(handle, "RADIO_ADD_OFFSET", nullptr);
  const char* divisor = GDALGetMetadataItem(handle, "BOA_QUANTIFICATION_VALUE", nullptr);
  if (divisor == nullptr) divisor = GDALGetMetadataItem(handle, "QUANTIFICATION_VALUE", nullptr);
  if (offset == nullptr && divisor == nullptr) return;
  const double quantification = divisor == nullptr ? 10000 : CPLAtof(divisor);
  if (quantification <= 0) return;
  band.scale = 1 / quantification;
  band.offset = offset == nullptr ? 0 : CPLAtof(offset) / quantification;
}

RasterBand read_band(GDALDatasetH handle, int number) {
  const GDALRasterBandH source = GDALGetRasterBand(handle, number);
  const GDALDataType type = GDALGetRasterDataType(source);
  RasterBand band;
  band.description = text_or_empty(GDALGetDescription(source));
  band.type = GDALGetDataTypeName(type);
  band.dtype = tensor_type(type);
  band.complex = GDALDataTypeIsComplex(type) != 0;
  band.integer = GDALDataTypeIsInteger(type) != 0;
  band.alpha = GDALGetRasterColorInterpretation(source) == GCI_AlphaBand;
  int present = 0;
  const double nodata = GDALGetRasterNoDataValue(source, &present);
  if (present != 0) band.nodata = nodata;
  int has_scale = 0, has_offset = 0;
  const double scale = GDALGetRasterScale(source, &has_scale);
  const double offset = GDALGetRasterOffset(source, &has_offset);
  if (has_scale != 0 && scale != 0) band.scale = scale;
  if (has_offset != 0) band.offset = offset;
  band.states_scale = has_scale != 0 || has_offset != 0;
  if (!band.states_scale) apply_product_metadata(handle, band);
  return band;
}

// What GDAL's drivers and common archives call the time of acquisition. TIFFTAG_DATETIME is none of
// them: TIFF defines it as the time when the file was made.
std::string acquisition_date(GDALDatasetH handle) {
  constexpr std::array<std::pair<const char*, const char*>, 7> items = {
      {{"ACQUISITIONDATETIME", "IMAGERY"},
       {"ACQUISITION_DATETIME", nullptr},
       {"ACQUISITION_DATE", nullptr},
       {"SENSING_TIME", nullptr},
       {"DATE_ACQUIRED", nullptr},
       {"DATATAKE_1_DATATAKE_SENSING_START", nullptr},
       {"PRODUCT_START_TIME", nullptr}}};
  for (const auto& [item, domain] : items)
    if (const auto date = stated_date(text_or_empty(GDALGetMetadataItem(handle, item, domain))))
      return *date;
  return "";
}

struct FreeCrs {
  void operator()(void* crs) const { OSRDestroySpatialReference(crs); }
};
using Crs = std::unique_ptr<std::remove_pointer_t<OGRSpatialReferenceH>, FreeCrs>;

// From WKT, or from a code such as "EPSG:32629".
Crs parse_crs(const std::string& text) {
  constexpr std::string_view prefix = "EPSG:";
  if (text.empty()) return nullptr;
  if (!text.starts_with(prefix)) return Crs(OSRNewSpatialReference(text.c_str()));
  Crs crs(OSRNewSpatialReference(nullptr));
  const int code = std::atoi(text.c_str() + prefix.size());
  return OSRImportFromEPSG(crs.get(), code) == OGRERR_NONE ? std::move(crs) : nullptr;
}

}  // namespace

void gdal_init() {
  static std::once_flag once;
  std::call_once(once, [] {
    GDALAllRegister();
    // A GdalErrors hears its own thread only, and where a thread of GDAL's own finds a JPEG 2000
    // tile cut short, the call that it works for succeeds and the tile is zero (seen with
    // GDAL 3.6.2).
    CPLSetConfigOption("GDAL_NUM_THREADS", "1");
    // Or two virtual rasters of one file would share its handle, and be read by two threads.
    CPLSetConfigOption("VRT_SHARED_SOURCE", "0");
    if (CPLGetConfigOption("GDAL_CACHEMAX", nullptr) == nullptr) GDALSetCacheMax64(block_cache);
  });
}

GdalErrors::GdalErrors(std::filesystem::path file, Warnings warnings)
    : file_(std::move(file)), warnings_(warnings) {
  const auto handler = [](CPLErr severity, CPLErrorNum, const char* text) {
    auto* self = static_cast<GdalErrors*>(CPLGetErrorHandlerUserData());
    try {  // no exception may cross GDAL's C code
      std::string message = one_line(text_or_empty(text));
      const std::string prefix = self->file_.string() + ": ";
      if (message.starts_with(prefix)) message.erase(0, prefix.size());
      if (severity == CE_Warning && self->warnings_ == Warnings::log)
        log_warning(self->file_.string(), ": ", message);
      else if (severity >= CE_Warning)
        self->messages_.push_back(std::move(message));
    } catch (...) {
      static_cast<void>(severity);  // a lost message; the call's own result still says it failed
    }
  };
  CPLPushErrorHandlerEx(handler, this);
}

GdalErrors::~GdalErrors() { CPLPopErrorHandler(); }

void GdalErrors::fail(const std::string& verb, const std::string& remedy) const {
  const std::string reason = any() ? str(": ", messages_.front()) : "";
  throw UserError(str("cannot ", verb, " ", file_.string(), reason, " (", remedy, ")"));
}

Dataset Dataset::open(const std::filesystem::path& path) {
  gdal_init();
  verify_archived(path);
  const GdalErrors errors(path);
  const GDALDatasetH handle =
      GDALOpenEx(path.c_str(), GDAL_OF_RASTER | GDAL_OF_READONLY | GDAL_OF_VERBOSE_ERROR, nullptr,
                 nullptr, nullptr);
  if (handle == nullptr)
    errors.fail("open", "give a raster that gdalinfo can read, such as a GeoTIFF");
  return {path, handle, errors};
}

Dataset::Dataset(std::filesystem::path path, void* handle)
    : path_(std::move(path)), handle_(handle) {}

// Delegates, so that the handle is closed where the rest throws.
Dataset::Dataset(std::filesystem::path path, void* handle, const GdalErrors& errors)
    : Dataset(std::move(path), handle) {
  check_size(handle, errors);
  grid_ = read_grid(handle);
  for (int i = 1; i <= GDALGetRasterCount(handle); ++i) bands_.push_back(read_band(handle, i));
  date_ = acquisition_date(handle);
  has_mask_ = (GDALGetMaskFlags(GDALGetRasterBand(handle, 1)) & GMF_PER_DATASET) != 0;
}

Dataset::Dataset(Dataset&& other) noexcept
    : path_(std::move(other.path_)),
      handle_(std::exchange(other.handle_, nullptr)),
      grid_(std::move(other.grid_)),
      bands_(std::move(other.bands_)),
      date_(std::move(other.date_)),
      has_mask_(other.has_mask_) {}

Dataset& Dataset::operator=(Dataset&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(handle_, other.handle_);
  std::swap(grid_, other.grid_);
  std::swap(bands_, other.bands_);
  std::swap(date_, other.date_);
  std::swap(has_mask_, other.has_mask_);
  return *this;
}

Dataset::~Dataset() {
  if (handle_ == nullptr) return;
  CPLPushErrorHandler(CPLQuietErrorHandler);  // a file opened for reading has nothing left to lose
  GDALClose(dataset(handle_));
  CPLPopErrorHandler();
}

void Dataset::read(const Window& window, std::span<const int> bands, DType as, void* out,
                   int64_t pixel_step, int64_t row_step) const {
  UNETD_CHECK(grid_.whole().contains(window), path_.string(), ": ", window);
  std::vector<int> numbers(bands.begin(), bands.end());
  for (int& number : numbers) {
    ++number;
    UNETD_CHECK(number >= 1 && number <= static_cast<int>(bands_.size()), "band ", number);
  }
  if (pixel_step == 0) pixel_step = static_cast<int64_t>(bands.size());
  if (row_step == 0) row_step = pixel_step * window.width;
  const auto element = static_cast<int64_t>(size_of(as));
  const GdalErrors errors(path_, GdalErrors::Warnings::fail);
  const CPLErr result = GDALDatasetRasterIOEx(
      dataset(handle_), GF_Read, static_cast<int>(window.x), static_cast<int>(window.y),
      static_cast<int>(window.width), static_cast<int>(window.height), out,
      static_cast<int>(window.width), static_cast<int>(window.height), gdal_type(as),
      static_cast<int>(numbers.size()), numbers.data(), pixel_step * element, row_step * element,
      element, nullptr);
  errors.check(result == CE_None, "read", damaged);
}

void Dataset::read_mask(const Window& window, uint8_t* out) const {
  UNETD_CHECK(has_mask_ && grid_.whole().contains(window), path_.string(), ": mask of ", window);
  const GdalErrors errors(path_, GdalErrors::Warnings::fail);
  const GDALRasterBandH mask = GDALGetMaskBand(GDALGetRasterBand(dataset(handle_), 1));
  const auto width = static_cast<int>(window.width), height = static_cast<int>(window.height);
  const CPLErr result =
      GDALRasterIO(mask, GF_Read, static_cast<int>(window.x), static_cast<int>(window.y), width,
                   height, out, width, height, GDT_Byte, 0, 0);
  errors.check(result == CE_None, "read the mask of", damaged);
}

DatasetHandle raster_over(const Grid& grid, DType dtype, void* samples, const GdalErrors& errors) {
  DatasetHandle raster(GDALCreate(GDALGetDriverByName("MEM"), "", static_cast<int>(grid.width),
                                  static_cast<int>(grid.height), 0, gdal_type(dtype), nullptr));
  errors.check(raster != nullptr, "lay out", write_remedy);
  char pointer[64];
  pointer[CPLPrintPointer(pointer, samples, sizeof pointer - 1)] = '\0';
  CPLStringList options;
  options.SetNameValue("DATAPOINTER", pointer);
  errors.check(GDALAddBand(raster.get(), gdal_type(dtype), options.List()) == CE_None, "lay out",
               write_remedy);
  if (grid.georeferenced()) {
    std::array<double, 6> transform = *grid.geotransform;
    GDALSetGeoTransform(raster.get(), transform.data());
  }
  return raster;
}

bool same_crs(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const Crs first = parse_crs(a), second = parse_crs(b);
  return first && second && OSRIsSame(first.get(), second.get()) != 0;
}

std::string crs_name(const std::string& wkt) {
  const Crs crs = parse_crs(wkt);
  if (!crs) return "no CRS";
  const char* authority = OSRGetAuthorityName(crs.get(), nullptr);
  const char* code = OSRGetAuthorityCode(crs.get(), nullptr);
  if (authority != nullptr && code != nullptr) return str(authority, ":", code);
  const char* name = OSRGetName(crs.get());
  return name == nullptr ? "an unnamed CRS" : name;
}

}  // namespace unetd::io
