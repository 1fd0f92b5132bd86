#include "tools/synth/product.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/gdal_jp2.h"
#include "io/scene.h"

#include <array>
#include <cstdint>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace unetd::synth {
namespace {

namespace fs = std::filesystem;

constexpr const char* granule = "L1C_T32TNS_A000000_20200101T000000";
constexpr const char* image_prefix = "T32TNS_20200101T000000_";
constexpr int coarsest = 60, finest = 10;
constexpr int resolutions[] = {10, 20, 60};

int resolution_of(const std::string& band) {
  if (band == "B01" || band == "B09" || band == "B10") return coarsest;
  const bool fine = band == "B02" || band == "B03" || band == "B04" || band == "B08";
  return fine ? finest : 20;
}

io::Grid grid_at(io::Grid grid, int64_t factor) {
  grid.width /= factor;
  grid.height /= factor;
  (*grid.geotransform)[1] *= static_cast<double>(factor);
  (*grid.geotransform)[5] *= static_cast<double>(factor);
  return grid;
}

// A band of the stack, averaged over factor x factor pixels.
std::vector<uint16_t> samples_of(const io::Scene& scene, int64_t factor) {
  const int64_t width = scene.grid().width / factor, height = scene.grid().height / factor;
  std::vector<uint16_t> samples;
  samples.reserve(static_cast<size_t>(width * height));
  constexpr int64_t rows_at_once = 240;  // a multiple of all factors
  for (int64_t y = 0; y < scene.grid().height; y += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, scene.grid().height - y);
    const io::Raster raster = scene.read({0, y, scene.grid().width, rows});
    const auto from = raster.image.span<uint16_t>();
    for (int64_t row = 0; row < rows / factor; ++row) {
      for (int64_t x = 0; x < width; ++x) {
        uint32_t sum = 0;
        bool hole = false;
        for (int64_t i = 0; i < factor * factor; ++i) {
          const int64_t at =
              (row * factor + i / factor) * scene.grid().width + x * factor + i % factor;
          const uint16_t sample = from[static_cast<size_t>(at)];
          hole = hole || sample == 0;
          sum += sample;
        }
        const auto count = static_cast<uint32_t>(factor * factor);
        samples.push_back(hole ? 0 : static_cast<uint16_t>((sum + count / 2) / count));
      }
    }
  }
  return samples;
}

std::string main_metadata(const io::Scene& stack) {
  std::ostringstream xml;
  xml << R"(<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-1C_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd">
  <!-- Not a measurement: made by unetd-synth. -->
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_URI>)"
      << product_name << R"(</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-1C</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI1C</PRODUCT_TYPE>
      <PROCESSING_BASELINE>05.00</PROCESSING_BASELINE>
      <Product_Organisation>
        <Granule_List>
          <Granule granuleIdentifier="S2X_OPER_MSI_L1C_TL_UNETD_20200101T000000_A000000_T32TNS_N05.00" imageFormat="JPEG2000">
)";
  for (const io::SceneBand& band : stack.bands())
    xml << "            <IMAGE_FILE>GRANULE/" << granule << "/IMG_DATA/" << image_prefix
        << band.name << "</IMAGE_FILE>\n";
  xml << R"(          </Granule>
        </Granule_List>
      </Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>
      <Radiometric_Offset_List>
)";
  for (size_t i = 0; i < stack.bands().size(); ++i)
    xml << "        <RADIO_ADD_OFFSET band_id=\"" << i << "\">-1000</RADIO_ADD_OFFSET>\n";
  xml << R"(      </Radiometric_Offset_List>
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-1C_User_Product>
)";
  return xml.str();
}

std::string tile_metadata(const io::Grid& fine) {
  std::ostringstream xml;
  xml << R"(<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-1C_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Tile_Metadata.xsd">
  <n1:General_Info>
    <SENSING_TIME metadataLevel="Standard">2020-01-01T00:00:00.000Z</SENSING_TIME>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding>
      <HORIZONTAL_CS_CODE>)"
      << fine.crs << "</HORIZONTAL_CS_CODE>\n";
  const auto& g = *fine.geotransform;
  for (const int metres : resolutions) {
    const io::Grid grid = grid_at(fine, metres / finest);
    xml << "      <Size resolution=\"" << metres << "\"><NROWS>" << grid.height << "</NROWS><NCOLS>"
        << grid.width << "</NCOLS></Size>\n";
  }
  for (const int metres : resolutions)
    xml << "      <Geoposition resolution=\"" << metres << "\"><ULX>" << static_cast<int64_t>(g[0])
        << "</ULX><ULY>" << static_cast<int64_t>(g[3]) << "</ULY><XDIM>" << metres
        << "</XDIM><YDIM>" << -metres << "</YDIM></Geoposition>\n";
  xml << R"(    </Tile_Geocoding>
  </n1:Geometric_Info>
</n1:Level-1C_Tile_ID>
)";
  return xml.str();
}

// A folder under a temporary name, removed unless it is given its own.
class ScratchFolder {
 public:
  explicit ScratchFolder(fs::path target)
      : target_(std::move(target)), path_(temporary_beside(target_)) {}
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const fs::path& path() const { return path_; }
  void publish() const {
    std::error_code failure;
    fs::remove_all(target_, failure);
    if (!failure) fs::rename(path_, target_, failure);
    if (failure)
      throw UserError(str("cannot write ", target_.string(), ": ", failure.message(),
                          "; check that its folder can be written to"));
  }

 private:
  fs::path target_, path_;
};

}  // namespace

void write_product(const fs::path& folder, const fs::path& stack, bool overwrite,
                   const std::function<void(double)>& progress) {
  const fs::path target = folder / product_name;
  if (!overwrite && fs::exists(target))
    throw UserError(str(target.string(), " exists; choose another folder or allow --overwrite"));
  const io::Scene scene = io::Scene::open(stack);
  constexpr int64_t side = coarsest / finest;
  if (scene.grid().width % side != 0 || scene.grid().height % side != 0)
    throw UsageError(str("a product's side is a multiple of ", side, " pixels of 10 m, not ",
                         scene.grid().width));
  const ScratchFolder scratch(target);
  const fs::path images = scratch.path() / "GRANULE" / granule / "IMG_DATA";
  std::error_code failure;
  fs::create_directories(images, failure);
  if (failure)
    throw UserError(str("cannot make the folder ", images.string(), ": ", failure.message()));
  write_file(scratch.path() / "MTD_MSIL1C.xml", main_metadata(scene));
  write_file(scratch.path() / "GRANULE" / granule / "MTD_TL.xml", tile_metadata(scene.grid()));
  double done = 0;
  for (const io::SceneBand& band : scene.bands()) {
    const int64_t factor = resolution_of(band.name) / finest;
    io::SceneOptions one;
    one.bands = {band.name};
    std::vector<uint16_t> samples = samples_of(io::Scene::open(stack, one), factor);
    io::write_jp2(images / (image_prefix + band.name + ".jp2"), grid_at(scene.grid(), factor),
                  samples);
    progress(++done / static_cast<double>(scene.bands().size()));
  }
  scratch.publish();
}

}  // namespace unetd::synth
