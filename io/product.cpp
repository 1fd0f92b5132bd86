#include "io/product.h"

#include "engine/base/error.h"
#include "io/date.h"
#include "io/gdal_vsi.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>
#include <sstream>
#include <string_view>
#include <utility>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

constexpr const char* incomplete =
    "; the product is damaged or incomplete: copy or download it again";

struct Instrument {
  const char* band;
  int resolution;
};
// MSI's bands in the order of their numbers in the metadata, which is that of wavelength.
constexpr std::array<Instrument, 13> spectral_bands = {{{"B01", 60},
                                                        {"B02", 10},
                                                        {"B03", 10},
                                                        {"B04", 10},
                                                        {"B05", 20},
                                                        {"B06", 20},
                                                        {"B07", 20},
                                                        {"B08", 10},
                                                        {"B8A", 20},
                                                        {"B09", 60},
                                                        {"B10", 60},
                                                        {"B11", 20},
                                                        {"B12", 20}}};
constexpr std::array<const char*, 5> further_bands = {"SCL", "AOT", "WVP", "CLD", "SNW"};

int native_resolution(const std::string& band) {
  for (const Instrument& i : spectral_bands)
    if (band == i.band) return i.resolution;
  return 0;
}

bool is_known(const std::string& band) {
  return native_resolution(band) != 0 ||
         std::find(further_bands.begin(), further_bands.end(), band) != further_bands.end();
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

// --- where a product's main metadata are
// ----------------------------------------------------------

bool is_main_metadata(const std::string& name) {
  if (name == "MTD_MSIL1C.xml" || name == "MTD_MSIL2A.xml") return true;
  return name.ends_with(".xml") && (name.find("_MTD_SAFL1C") != std::string::npos ||
                                    name.find("_MTD_SAFL2A") != std::string::npos);
}

bool is_archive(const fs::path& path) {
  std::string suffix = path.extension().string();
  for (char& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return suffix == ".zip";
}

// --- reading numbers
// ------------------------------------------------------------------------------

// Metadata elements that must be there, of one file.
class Metadata {
 public:
  explicit Metadata(fs::path path) : path_(std::move(path)), document_(read_xml(path_)) {}

  const XmlElement& document() const { return document_; }
  const XmlElement& required(const XmlElement& in, const std::string& name) const {
    const XmlElement* found = in.find(name);
    if (found == nullptr) throw UserError(str(path_.string(), " has no <", name, ">", incomplete));
    return *found;
  }
  double number(const XmlElement& e) const { return number(e.name, e.text); }
  double number(const std::string& name, const std::string& text) const {
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || error != std::errc{} || last != end)
      throw UserError(
          str(path_.string(), ": <", name, "> is '", text, "', which is no number", incomplete));
    return value;
  }
  double positive(const XmlElement& e) const {
    const double value = number(e);
    if (!(value > 0))
      throw UserError(
          str(path_.string(), ": <", e.name, "> is ", e.text, ", not positive", incomplete));
    return value;
  }
  int64_t pixels(const XmlElement& e) const {
    const double value = positive(e);
    constexpr double most = 1 << 20;
    if (value > most || value != static_cast<double>(static_cast<int64_t>(value)))
      throw UserError(str(path_.string(), ": <", e.name, "> is ", e.text,
                          ", which is no number of pixels", incomplete));
    return static_cast<int64_t>(value);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  XmlElement document_;
};

// --- calibration
// ----------------------------------------------------------------------------------

// "B1" of the metadata is "B01" of the file names.
std::string band_name(const std::string& physical) {
  return physical.size() == 2 && physical[0] == 'B' ? str("B0", physical[1]) : physical;
}

std::string band_of_number(const XmlElement& document, const std::string& number) {
  std::string name;
  document.each("Spectral_Information", [&](const XmlElement& e) {
    if (e.attribute("bandId") == number) name = band_name(e.attribute("physicalBand"));
  });
  if (!name.empty()) return name;
  for (size_t i = 0; i < spectral_bands.size(); ++i)
    if (number == std::to_string(i)) return spectral_bands[i].band;
  return "";
}

// The divisor `key`, in old products with the prefix "L2A_"; null if neither is there.
const XmlElement* quantification(const XmlElement& document, const std::string& key) {
  const XmlElement* found = document.find(key);
  return found != nullptr ? found : document.find("L2A_" + key);
}

void read_special_values(const Metadata& m, Product& product, double& nodata) {
  m.document().each("Special_Values", [&](const XmlElement& e) {
    const std::string what = m.required(e, "SPECIAL_VALUE_TEXT").text;
    const double value = m.number(m.required(e, "SPECIAL_VALUE_INDEX"));
    if (what == "NODATA") nodata = value;
    if (what == "SATURATED") product.saturated = value;
  });
}

// Reflectance = (DN + offset) / quantification value; products before baseline 04.00 and those that
// list no offset have none.
void add_calibration(const Metadata& m, Product& product) {
  const XmlElement& document = m.document();
  double nodata = 0;
  read_special_values(m, product, nodata);
  const std::string key = product.level == 1 ? "QUANTIFICATION_VALUE" : "BOA_QUANTIFICATION_VALUE";
  const XmlElement* divisor = quantification(document, key);
  const double scale = 1 / m.positive(divisor != nullptr ? *divisor : m.required(document, key));
  for (const Instrument& i : spectral_bands) product.bands[i.band] = {i.band, nodata, scale, 0};
  document.each(
      product.level == 1 ? "RADIO_ADD_OFFSET" : "BOA_ADD_OFFSET", [&](const XmlElement& e) {
        const std::string band = band_of_number(document, e.attribute("band_id"));
        if (native_resolution(band) == 0)
          throw UserError(str(m.path().string(), ": <", e.name, "> of band number '",
                              e.attribute("band_id"), "', which no band has", incomplete));
        product.bands[band].offset = m.number(e) * scale;
      });
  product.bands["SCL"] = {"SCL", 0.0, 1, 0};
  for (const char* name : {"CLD", "SNW"}) product.bands[name] = {name, std::nullopt, 1, 0};
  for (const std::string name : {"AOT", "WVP"}) {
    const XmlElement* own = quantification(document, name + "_QUANTIFICATION_VALUE");
    product.bands[name] = {name, 0.0, own == nullptr ? 1 : 1 / m.positive(*own), 0};
  }
}

// All that the main metadata say but granules.
Product described_product(const Metadata& m) {
  Product product;
  product.metadata = m.path();
  const XmlElement* const old_info = m.document().find("L2A_Product_Info");
  const XmlElement& info =
      old_info != nullptr ? *old_info : m.required(m.document(), "Product_Info");
  const std::string type = m.required(info, "PRODUCT_TYPE").text;
  if (!type.starts_with("S2MSI1C") && !type.starts_with("S2MSI2A"))
    throw UserError(str(m.path().string(), " is of type ", type,
                        ": levels 1C and 2A can be read, S2MSI1C and S2MSI2A"));
  product.level = type.starts_with("S2MSI1C") ? 1 : 2;
  product.baseline = m.required(info, "PROCESSING_BASELINE").text;
  add_calibration(m, product);
  return product;
}

// --- granules
// -------------------------------------------------------------------------------------

// "T32TQR" of "S2A_OPER_MSI_L1C_TL_..._T32TQR_N01.03".
std::string tile_of(const std::string& granule) {
  for (const std::string& word : split(granule, '_'))
    if (word.size() == 6 && word[0] == 'T' &&
        std::isdigit(static_cast<unsigned char>(word[1])) != 0)
      return word;
  return granule;
}

// Band and resolution of an image by the words of its name; no band for pictures and the like.
ProductImage named_image(const std::string& stem) {
  ProductImage image;
  std::vector<std::string> words = split(stem, '_');
  for (const std::string& word : words) {
    if (is_known(word)) image.band = word;
    if (word == "CLDPRB") image.band = "CLD";
    if (word == "SNWPRB") image.band = "SNW";
    for (const int resolution : {10, 20, 60})
      if (word == str(resolution, "m")) image.resolution = resolution;
  }
  if (image.resolution == 0) image.resolution = native_resolution(image.band);
  return image;
}

void add_image(Granule& granule, ProductImage image) {
  if (image.band.empty() || image.resolution == 0) return;
  if (granule.image(image.band, image.resolution) == nullptr)
    granule.images.push_back(std::move(image));
}

// Collects the granules of the main metadata: what they list, and where that lies among `files`.
class GranuleReader {
 public:
  GranuleReader(fs::path root, std::vector<fs::path> files)
      : root_(std::move(root)), files_(std::move(files)) {}

  // Old products list a granule once a resolution.
  void read(const XmlElement& listed, std::vector<Granule>& granules) const {
    const std::string id = listed.attribute("granuleIdentifier"), tile = tile_of(id);
    auto at = std::find_if(granules.begin(), granules.end(),
                           [&](const Granule& g) { return g.tile == tile; });
    if (at == granules.end()) at = granules.insert(at, Granule{tile, {}, {}, {}});
    const std::vector<std::string> names = image_names(listed);
    const fs::path folder = fs::path("GRANULE") / folder_of(id, names);
    for (const std::string& name : names) add_image(*at, located(folder, name));
    for (const fs::path& file : files_)  // newer products do not list their probabilities
      if (inside(file, folder) && is_probability(file.filename().string()))
        add_image(*at, located(folder, file.stem().string()));
    if (!at->grids.empty()) return;
    const Metadata own = granule_metadata(folder);
    at->grids = grids_of(own);
    at->date = date_of(own);
  }

 private:
  static bool is_probability(const std::string& name) {
    return name.starts_with("MSK_CLDPRB") || name.starts_with("MSK_SNWPRB");
  }
  static std::vector<std::string> image_names(const XmlElement& listed) {
    std::vector<std::string> names;
    for (const char* key : {"IMAGE_FILE", "IMAGE_FILE_2A", "IMAGE_ID", "IMAGE_ID_2A"})
      listed.each(key, [&](const XmlElement& e) { names.push_back(e.text); });
    return names;
  }
  // Compact products name it in the images' paths; before, it is the granule's identifier.
  static std::string folder_of(const std::string& id, const std::vector<std::string>& images) {
    for (const std::string& image : images) {
      const std::vector<std::string> parts = split(image, '/');
      if (parts.size() > 2 && parts[0] == "GRANULE") return parts[1];
    }
    return id;
  }
  static bool inside(const fs::path& file, const fs::path& folder) {
    return file.string().starts_with(folder.string() + "/");
  }
  ProductImage located(const fs::path& folder, const std::string& listed) const {
    const std::string stem = fs::path(listed).filename().string();
    ProductImage image = named_image(stem);
    for (const fs::path& file : files_) {
      const bool raster = file.extension() == ".jp2" || file.extension() == ".tif";
      if (!raster || file.stem() != stem || !inside(file, folder)) continue;
      image.path = root_ / file;
      image.present = true;
      return image;
    }
    const fs::path by_name = folder / "IMG_DATA" / stem;
    image.path = root_ / (listed == stem ? by_name.string() + ".jp2" : listed + ".jp2");
    return image;
  }
  Metadata granule_metadata(const fs::path& folder) const {
    for (const fs::path& file : files_)
      if (file.parent_path() == folder && file.extension() == ".xml") return Metadata(root_ / file);
    throw UserError(
        str((root_ / folder).string(), " has no metadata file (MTD_TL.xml)", incomplete));
  }
  static std::string date_of(const Metadata& m) {
    const XmlElement* const element = m.document().find("SENSING_TIME");
    if (element == nullptr) return "";
    const std::optional<std::string> date = stated_date(element->text);
    if (!date)
      throw UserError(str(m.path().string(), ": <SENSING_TIME> is '", element->text,
                          "', which is no date and time", incomplete));
    return *date;
  }
  static std::map<int, Grid> grids_of(const Metadata& m) {
    const XmlElement& geocoding = m.required(m.document(), "Tile_Geocoding");
    const std::string crs = m.required(geocoding, "HORIZONTAL_CS_CODE").text;
    std::map<int, Grid> grids;
    const auto resolution = [&](const XmlElement& e) {
      return static_cast<int>(m.number("resolution", e.attribute("resolution")));
    };
    geocoding.each("Size", [&](const XmlElement& e) {
      Grid& grid = grids[resolution(e)];
      grid.height = m.pixels(m.required(e, "NROWS"));
      grid.width = m.pixels(m.required(e, "NCOLS"));
      grid.crs = crs;
    });
    geocoding.each("Geoposition", [&](const XmlElement& e) {
      const auto value = [&](const char* name) { return m.number(m.required(e, name)); };
      grids[resolution(e)].geotransform = {value("ULX"), value("XDIM"), 0, value("ULY"), 0,
                                           value("YDIM")};
    });
    for (const auto& [metres, grid] : grids)
      if (grid.width == 0 || !grid.georeferenced())
        throw UserError(
            str(m.path().string(), " lacks <Size> or <Geoposition> of ", metres, " m", incomplete));
    return grids;
  }

  fs::path root_;
  std::vector<fs::path> files_;
};

// --- choosing
// -------------------------------------------------------------------------------------

const ProductImage* best_image(const Granule& granule, const std::string& band, int resolution) {
  const ProductImage* const exact = granule.image(band, resolution);
  const ProductImage* const native = granule.image(band, native_resolution(band));
  if (exact != nullptr && (exact->present || native == nullptr || !native->present)) return exact;
  if (native != nullptr) return native;
  const auto distance = [&](const ProductImage& i) {  // coarser ones first
    return i.resolution > resolution ? i.resolution - resolution : 1000 - i.resolution;
  };
  const ProductImage* best = nullptr;
  for (const ProductImage& i : granule.images)
    if (i.band == band && (best == nullptr || distance(i) < distance(*best))) best = &i;
  return best;
}

std::vector<std::string> default_bands(const Product& product, const Granule& granule,
                                       int resolution) {
  std::vector<std::string> bands;
  for (const Instrument& i : spectral_bands) {
    const ProductImage* image = best_image(granule, i.band, resolution);
    if (image == nullptr) continue;
    if (product.level == 1 || image->resolution >= resolution) bands.emplace_back(i.band);
  }
  return bands;
}

std::string band_list(const Granule& granule) {
  std::vector<std::string> names;
  for (const ProductImage& i : granule.images)
    if (std::find(names.begin(), names.end(), i.band) == names.end()) names.push_back(i.band);
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

const ProductImage* Granule::image(const std::string& band, int resolution) const {
  const auto found = std::find_if(images.begin(), images.end(), [&](const ProductImage& i) {
    return i.band == band && i.resolution == resolution;
  });
  return found == images.end() ? nullptr : &*found;
}

const Granule& Product::granule(const std::string& tile) const {
  std::string tiles;
  for (const Granule& g : granules) {
    if (g.tile == tile || (tile.empty() && granules.size() == 1)) return g;
    tiles += (tiles.empty() ? "" : ", ") + g.tile;
  }
  if (tile.empty())
    throw UserError(str(metadata.string(), " has ", granules.size(), " tiles (", tiles,
                        "): choose one with --granule"));
  throw UserError(str(metadata.string(), " has no tile '", tile, "': it has ", tiles));
}

std::optional<fs::path> find_product(const fs::path& path) {
  const PathKind kind = path_kind(path);
  if (kind == PathKind::none) return std::nullopt;
  const bool archive = kind == PathKind::file && is_archive(path);
  if (kind == PathKind::file && !archive)
    return is_main_metadata(path.filename().string()) ? std::optional(path) : std::nullopt;
  const fs::path root =
      archive ? fs::path("/vsizip/" + fs::absolute(path).lexically_normal().string()) : path;
  std::vector<fs::path> found;
  for (const fs::path& file : files_below(root, 1))
    if (is_main_metadata(file.filename().string())) found.push_back(root / file);
  if (found.size() > 1)
    throw UserError(str(path.string(), " holds ", found.size(), " products, ", found[0].string(),
                        " and ", found[1].string(), " among them: give one of them"));
  if (found.empty() && (archive || path.extension() == ".SAFE"))
    throw UserError(str(path.string(),
                        " holds no metadata of a Sentinel-2 product (MTD_MSIL1C.xml, "
                        "MTD_MSIL2A.xml, or S2*_MTD_SAF*.xml of old ones)",
                        incomplete));
  return found.empty() ? std::nullopt : std::optional(found.front());
}

std::map<std::string, SceneBand> read_calibration(const fs::path& metadata) {
  Product product = described_product(Metadata(metadata));
  for (auto& [name, band] : product.bands) band.saturated = product.saturated;
  return std::move(product.bands);
}

Product read_product(const fs::path& metadata) {
  constexpr int deepest = 6;  // GRANULE/<granule>/IMG_DATA/R10m/<image>
  const Metadata m(metadata);
  Product product = described_product(m);
  const fs::path root = metadata.has_parent_path() ? metadata.parent_path() : fs::path(".");
  const GranuleReader reader(root, files_below(root, deepest));
  for (const char* name : {"Granules", "Granule"})
    m.document().each(name, [&](const XmlElement& e) { reader.read(e, product.granules); });
  if (product.granules.empty())
    throw UserError(str(metadata.string(), " lists no granule", incomplete));
  return product;
}

std::vector<ProductImage> choose_images(const Product& product, const Granule& granule,
                                        const std::vector<std::string>& bands, int resolution) {
  std::vector<ProductImage> chosen;
  std::string missing;
  for (const std::string& band :
       bands.empty() ? default_bands(product, granule, resolution) : bands) {
    const ProductImage* image = best_image(granule, band, resolution);
    if (image == nullptr)
      throw UserError(str(product.metadata.string(), " has no band '", band, "': it has ",
                          band_list(granule), "; what is no band of it is given as --extra ", band,
                          "=PATH"));
    if (!image->present)
      missing += str(missing.empty() ? "" : ", ", image->path.filename().string());
    chosen.push_back(*image);
  }
  if (!missing.empty())
    throw UserError(str(product.metadata.parent_path().string(),
                        " lacks files that its metadata list: ", missing,
                        "; download it again, or choose what it has with --bands or --resolution"));
  return chosen;
}

}  // namespace unetd::io
