#include "io/scene_sources.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "io/band_files.h"
#include "io/gdal_vsi.h"
#include "io/manifest.h"
#include "io/product.h"
#include "io/stac.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <system_error>
#include <utility>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// "B1" and "b01" name the same band as "B01".
std::string band_key(std::string name) {
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (name.size() > 2 && name[0] == 'B' && name[1] == '0') name.erase(1, 1);
  return name;
}

[[noreturn]] void no_such_band(const fs::path& path, const std::string& wanted,
                               const std::vector<std::string>& names, const char* note) {
  throw UserError(str(path.string(), " has no band '", wanted, "': it has ", join(names), note,
                      "; what is no band of it is given as --extra ", wanted, "=PATH"));
}

// Names from the file's descriptions if every band has one of its own, else by position.
std::vector<std::string> stack_names(const std::vector<RasterBand>& bands, bool& by_position) {
  std::map<std::string, int> seen;
  for (const RasterBand& band : bands) ++seen[band_key(band.description)];
  by_position = seen.size() != bands.size() || seen.contains("");
  std::vector<std::string> names;
  for (size_t i = 0; i < bands.size(); ++i)
    names.push_back(by_position ? str("B", i + 1) : bands[i].description);
  return names;
}

// Alpha is a mask rather than a measurement, unless it is asked for by name.
std::vector<int> default_bands(const Dataset& file) {
  std::vector<int> selected;
  for (size_t i = 0; i < file.bands().size(); ++i)
    if (!file.bands()[i].alpha) selected.push_back(static_cast<int>(i));
  if (selected.size() < file.bands().size())
    log_info(file.path().string(),
             ": the alpha band serves as the mask; name all bands to read it");
  return selected;
}

std::vector<int> select_bands(const Dataset& file, const std::vector<std::string>& names,
                              bool by_position, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return default_bands(file);
  std::vector<int> selected;
  for (const std::string& name : wanted) {
    // A position says nothing about wavelength, so "B02" must not pick the second band by chance.
    const auto same = [&](const std::string& n) {
      return by_position ? n == name : band_key(n) == band_key(name);
    };
    const auto found = std::find_if(names.begin(), names.end(), same);
    if (found == names.end())
      no_such_band(file.path(), name, names,
                   by_position ? " (by position: the file describes no bands)" : "");
    selected.push_back(static_cast<int>(found - names.begin()));
  }
  return selected;
}

const RasterBand& checked_band(const Dataset& file, int index) {
  const RasterBand& band = file.bands()[static_cast<size_t>(index)];
  if (band.complex)
    throw UserError(str(file.path().string(), " holds complex samples (", band.type,
                        "): convert them to amplitudes, a UNet takes real numbers"));
  return band;
}

Dataset open_single(const fs::path& path) {
  Dataset file = Dataset::open(path);
  if (file.bands().size() != 1)
    throw UserError(str(path.string(), " has ", file.bands().size(),
                        " bands: a file in a folder of bands has one; give a stack by itself"));
  return file;
}

double pixel_width(const Dataset& file) {
  const auto& g = file.grid().geotransform;
  return g ? std::hypot((*g)[1], (*g)[4]) : 1.0 / static_cast<double>(file.grid().width);
}

// Those asked for; by default Sentinel-2's bands in the order of wavelength, or all where none is.
std::vector<std::string> file_selection(const fs::path& path, const std::vector<BandFile>& files,
                                        const std::vector<std::string>& wanted) {
  std::vector<std::string> there;
  for (const std::string& name : sentinel_bands)
    if (std::ranges::find(files, name, &BandFile::name) != files.end()) there.push_back(name);
  const bool only_others = there.empty();
  std::vector<std::string> all = there;
  for (const BandFile& file : files)
    if (std::ranges::count(all, file.name) == 0) all.push_back(file.name);
  if (wanted.empty()) return only_others ? all : there;
  std::vector<std::string> selected;
  for (const std::string& name : wanted) {
    const auto found = std::ranges::find(all, band_key(name), band_key);
    if (found == all.end()) no_such_band(path, name, all, "");
    selected.push_back(*found);
  }
  return selected;
}

struct OpenBand {
  const BandFile* said;
  Dataset file;
};

// The file of a band: where there are several resolutions, the one nearest to `resolution`; 0: the
// finest.
OpenBand open_band(const fs::path& path, const std::vector<BandFile>& files,
                   const std::string& name, int resolution) {
  const auto distance = [&](const Dataset& file) {
    return std::abs(pixel_width(file) - static_cast<double>(resolution));
  };
  std::optional<OpenBand> chosen;
  std::string remote;
  for (const BandFile& candidate : files) {
    if (candidate.name != name) continue;
    if (candidate.path.empty()) {
      remote = candidate.href;
      continue;
    }
    OpenBand opened{&candidate, open_single(candidate.path)};
    if (!chosen || distance(opened.file) < distance(chosen->file)) {
      chosen = std::move(opened);
    } else if (distance(opened.file) == distance(chosen->file)) {
      throw UserError(str("both ", chosen->file.path().string(), " and ", candidate.path.string(),
                          " are band ", name, ": keep one scene to a folder"));
    }
  }
  if (!chosen)
    throw UserError(str("band ", name, " of ", path.string(), " is remote, ", remote,
                        ": download it and let the item point to the copy, or choose local bands "
                        "with --bands"));
  return std::move(*chosen);
}

bool has_resolution(const Dataset& file, int resolution) {
  constexpr double tolerance = 0.01;  // some grids have pixels of 9.995 m
  return std::abs(pixel_width(file) / resolution - 1) <= tolerance;
}

// The grid of the finest file, or of one with pixels of `resolution` metres.
Grid finest_grid(const fs::path& path, const std::vector<OpenBand>& bands, int resolution) {
  const Dataset* chosen = nullptr;
  for (const OpenBand& band : bands) {
    if (resolution != 0 && !has_resolution(band.file, resolution)) continue;
    if (chosen == nullptr || pixel_width(band.file) < pixel_width(*chosen)) chosen = &band.file;
  }
  if (chosen == nullptr)
    throw UserError(str(path.string(), " has no band with pixels of ", resolution,
                        " m among those to read: choose another --resolution"));
  return chosen->grid();
}

// Settles how many pixels of one span a pixel of the other. Throws unless they share corners and
// CRS.
void relate(const Grid& scene, SceneSource& source) {
  Grid scaled = source.file.grid();
  const int64_t width = std::max<int64_t>(1, scaled.width);
  source.coarser = std::max<int64_t>(1, scene.width / width);
  source.finer = std::max<int64_t>(1, width / scene.width);
  for (int64_t* size : {&scaled.width, &scaled.height})
    *size = *size * source.coarser / source.finer;
  if (scaled.geotransform)
    for (const size_t i : {1, 2, 4, 5})
      (*scaled.geotransform)[i] *=
          static_cast<double>(source.finer) / static_cast<double>(source.coarser);
  const std::string difference = grid_difference(scene, scaled);
  if (!difference.empty())
    throw UserError(str(
        source.file.path().string(), " does not fit the scene's grid: brought to its pixels, ",
        difference,
        "; mend it with: ", warp_command(scene, source.file.grid(), source.file.path().string())));
}

// The type that holds the values of both.
DType common_type(DType a, DType b) {
  if (a == b) return a;
  for (const DType wide : {DType::u16, DType::i16})
    if ((a == wide && b == DType::u8) || (b == wide && a == DType::u8)) return wide;
  return DType::f32;
}

void add_band(SceneSources& scene, SceneBand band, DType dtype, const SceneOptions& options) {
  if (options.nodata) band.nodata = options.nodata;
  // An override replaces both: half of a stored calibration means nothing.
  if (options.scale || options.offset) {
    band.scale = options.scale.value_or(1);
    band.offset = options.offset.value_or(0);
  }
  scene.dtype = scene.bands.empty() ? dtype : common_type(scene.dtype, dtype);
  scene.bands.push_back(std::move(band));
}

SceneBand described(const std::string& name, const RasterBand& band) {
  return {name, band.nodata, band.scale, band.offset};
}

SceneSources open_stack(const fs::path& path, const SceneOptions& options) {
  SceneSources scene;
  Dataset file = Dataset::open(path);
  if (options.resolution != 0 && !has_resolution(file, options.resolution))
    throw UserError(str(path.string(), " has pixels of ", pixel_width(file), ", not of ",
                        options.resolution, " m: bring it there with gdalwarp -tr ",
                        options.resolution, ' ', options.resolution));
  bool by_position = false, alpha = false;
  const std::vector<std::string> names = stack_names(file.bands(), by_position);
  const std::vector<int> selected = select_bands(file, names, by_position, options.bands);
  if (selected.empty())
    throw UserError(str(path.string(), " has no band beside alpha: name the bands to read"));
  std::vector<int64_t> channels;
  for (const int index : selected) {
    const RasterBand& band = checked_band(file, index);
    add_band(scene, described(names[static_cast<size_t>(index)], band), band.dtype, options);
    channels.push_back(std::ssize(channels));
    alpha = alpha || band.alpha;
  }
  scene.grid = file.grid();
  scene.date = file.date();
  const bool mask = file.has_mask() && !alpha;
  scene.sources.push_back(
      {.file = std::move(file), .bands = selected, .channels = channels, .use_mask = mask});
  return scene;
}

// Adds a file of one band, that of the channel added last.
SceneSource& add_file(SceneSources& scene, Dataset file) {
  const bool mask = file.has_mask();
  scene.sources.push_back({.file = std::move(file),
                           .bands = {0},
                           .channels = {std::ssize(scene.bands) - 1},
                           .use_mask = mask});
  relate(scene.grid, scene.sources.back());
  return scene.sources.back();
}

// What is said beside a file goes before what it says itself, and that before its product.
SceneBand calibrated(const BandFile& said, const RasterBand& own,
                     const std::map<std::string, SceneBand>& product) {
  SceneBand band = described(said.name, own);
  if (const auto known = product.find(said.name);
      known != product.end() && own.integer && own.scale == 1 && own.offset == 0) {
    band.scale = known->second.scale;
    band.offset = known->second.offset;
    if (!band.nodata) band.nodata = known->second.nodata;
    if (own.dtype == DType::u16) band.saturated = known->second.saturated;
  }
  if (said.nodata) band.nodata = said.nodata;
  if (said.zero_is_data) band.nodata.reset();
  if (said.scale || said.offset) {
    // That the offset was taken off says nothing of the scale.
    if (said.scale || *said.offset != 0) band.scale = said.scale.value_or(1);
    band.offset = said.offset.value_or(0);
  }
  return band;
}

// The date that all files state, or none.
std::string common_date(const std::vector<OpenBand>& bands) {
  const std::string& first = bands.front().file.date();
  const bool same =
      std::ranges::all_of(bands, [&](const OpenBand& band) { return band.file.date() == first; });
  return same ? first : "";
}

// A folder of band files, or a STAC item that lists them.
SceneSources open_files(const fs::path& path, const BandFiles& from, const SceneOptions& options) {
  std::vector<OpenBand> bands;
  for (const std::string& name : file_selection(path, from.files, options.bands))
    bands.push_back(open_band(path, from.files, name, options.resolution));
  SceneSources scene;
  scene.date = from.date.empty() ? common_date(bands) : from.date;
  scene.grid = finest_grid(path, bands, options.resolution);
  for (OpenBand& opened : bands) {
    const RasterBand& own = checked_band(opened.file, 0);
    add_band(scene, calibrated(*opened.said, own, from.product), own.dtype, options);
    SceneSource& source = add_file(scene, std::move(opened.file));
    source.categories = band_key(opened.said->name) == "SCL";
  }
  return scene;
}

// The names that a product gives what is asked for as "B2" or "scl".
std::vector<std::string> product_bands(const Product& product,
                                       const std::vector<std::string>& wanted) {
  std::vector<std::string> names;
  for (const std::string& name : wanted) {
    const auto found =
        std::find_if(product.bands.begin(), product.bands.end(),
                     [&](const auto& band) { return band_key(band.first) == band_key(name); });
    names.push_back(found == product.bands.end() ? name : found->first);
  }
  return names;
}

SceneSources open_product(const fs::path& metadata, const SceneOptions& options) {
  constexpr int finest = 10;
  const int resolution = options.resolution == 0 ? finest : options.resolution;
  const Product product = read_product(metadata);
  const Granule& granule = product.granule(options.granule);
  if (!granule.grids.contains(resolution))
    throw UserError(str(metadata.string(), " has no grid of ", resolution,
                        " m: choose --resolution 10, 20 or 60"));
  const Manifest manifest(metadata.has_parent_path() ? metadata.parent_path() : fs::path("."));
  SceneSources scene;
  scene.grid = granule.grids.at(resolution);
  scene.date = granule.date;
  for (const ProductImage& image :
       choose_images(product, granule, product_bands(product, options.bands), resolution)) {
    manifest.verify(image.path);
    Dataset file = open_single(image.path);
    const DType dtype = checked_band(file, 0).dtype;
    SceneBand band = product.bands.at(image.band);
    if (dtype == DType::u16) band.saturated = product.saturated;
    add_band(scene, std::move(band), dtype, options);
    add_file(scene, std::move(file)).categories = image.band == "SCL";
  }
  return scene;
}

bool in_archive(const fs::path& path) { return path.string().starts_with("/vsizip/"); }

// The file or folder that is the scene: of a product the .SAFE folder, whatever is named of it.
fs::path scene_location(const fs::path& path) {
  const auto metadata = find_product(path);
  if (metadata && metadata->has_parent_path()) return metadata->parent_path();
  return path.has_filename() ? path : path.parent_path();
}

SceneSources open_bands(const fs::path& path, const SceneOptions& options) {
  if (const auto metadata = find_product(path)) return open_product(*metadata, options);
  if (!options.granule.empty())
    throw UsageError(str("--granule: ", path.string(), " is no Sentinel-2 product with tiles"));
  if (path_kind(path) == PathKind::folder) return open_files(path, band_files(path), options);
  if (is_stac_item(path)) return open_files(path, item_files(path), options);
  return open_stack(path, options);
}

// The bands asked for that the scene itself must have.
std::vector<std::string> without_extras(const SceneOptions& options) {
  std::vector<std::string> bands = options.bands;
  const auto& extras = options.extras;
  const auto is_extra = [&](const std::string& name) {
    return std::ranges::find(extras, name, &ExtraRaster::name) != extras.end();
  };
  const auto first = std::ranges::find_if(bands, is_extra);
  const bool in_order =
      first == bands.end() || std::ranges::equal(first, bands.end(), extras.begin(), extras.end(),
                                                 {}, {}, &ExtraRaster::name);
  if (!in_order || (first == bands.begin() && first != bands.end()))
    throw UsageError("additional rasters come after the scene's own bands, in the order given");
  bands.erase(first, bands.end());
  return bands;
}

// The file of `extra` for the scene at `scene_path`: its placeholders filled in.
fs::path extra_path(const ExtraRaster& extra, const fs::path& scene_path) {
  const fs::path location = scene_location(scene_path);
  // An archive is named by the path given: what lies in it has no other files beside it.
  const fs::path folder = (in_archive(location) ? scene_path : location).parent_path();
  std::string path = extra.path.string();
  const auto fill = [&](std::string_view placeholder, const std::string& value) {
    for (size_t at = 0; (at = path.find(placeholder, at)) != std::string::npos; at += value.size())
      path.replace(at, placeholder.size(), value);
  };
  fill("{folder}", folder.empty() ? "." : folder.string());
  fill("{scene}", scene_name(scene_path));
  return path;
}

void add_extra(SceneSources& scene, const ExtraRaster& extra, const fs::path& path) {
  for (const SceneBand& band : scene.bands)
    if (band_key(band.name) == band_key(extra.name))
      throw UsageError(str("the scene has a band '", band.name, "' already: give ", path.string(),
                           " another name"));
  Dataset file = Dataset::open_on(path, scene.grid, extra.resampling);
  add_band(scene, {extra.name, std::nullopt, 1, 0}, DType::f32, {});
  add_file(scene, std::move(file));
}

}  // namespace

SceneSources open_sources(const fs::path& path, const SceneOptions& options) {
  gdal_init();
  std::vector<std::string> keys;
  for (const std::string& name : options.bands) {
    keys.push_back(band_key(name));
    if (std::count(keys.begin(), keys.end(), keys.back()) > 1)
      throw UsageError(str("band '", name, "' is asked for twice"));
  }
  SceneOptions own = options;
  own.bands = without_extras(options);
  SceneSources scene = open_bands(path, own);
  for (const ExtraRaster& extra : options.extras) add_extra(scene, extra, extra_path(extra, path));
  if (!options.date.empty()) scene.date = options.date;
  return scene;
}

std::string scene_name(const fs::path& path) { return scene_location(path).stem().string(); }

std::string describe(const Scene& scene) {
  const std::vector<SceneBand>& bands = scene.bands();
  std::vector<std::string> names(bands.size());
  std::ranges::transform(bands, names.begin(), &SceneBand::name);
  const SceneBand& first = bands.front();
  const bool alike = std::ranges::all_of(bands, [&](const SceneBand& b) {
    return b.scale == first.scale && b.offset == first.offset;
  });
  return str(scene.path().string(), ": ", describe(scene.grid()), "; ", join(names),
             "; value = sample * ", first.scale, first.offset < 0 ? " - " : " + ",
             std::abs(first.offset), alike ? "" : str(" in ", first.name, ", others differ"),
             scene.date().empty() ? "" : "; sensed " + scene.date());
}

std::vector<fs::path> scene_files(const fs::path& path) {
  if (const auto metadata = find_product(path)) {
    return {in_archive(*metadata) ? path : *metadata};
  }
  return path_kind(path) == PathKind::folder ? files_of_folder(path) : std::vector<fs::path>{path};
}

int64_t file_bytes(const fs::path& path) {
  int64_t total = 0;
  for (const fs::path& file : scene_files(path)) {
    std::error_code none;
    const uintmax_t size = fs::file_size(file, none);
    if (!none) total += static_cast<int64_t>(size);
  }
  return total;
}

}  // namespace unetd::io
