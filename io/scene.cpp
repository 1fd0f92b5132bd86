#include "io/scene.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/pixel_type.h"
#include "io/gdal.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <map>
#include <sstream>
#include <type_traits>
#include <utility>

#include <unistd.h>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

// A file and which of its bands go to which channels of the scene.
struct Source {
  Dataset file;
  std::vector<int> bands;         // in the file, from 0
  std::vector<int64_t> channels;  // in the scene, ascending by one
  int64_t factor = 1;             // how many scene pixels one of its pixels spans
  bool use_mask = false;
};

// Sentinel-2's band names in the order of wavelength, which is the order of its stacks.
const std::vector<std::string> sentinel_bands = {"B01", "B02", "B03", "B04", "B05", "B06", "B07",
                                                 "B08", "B8A", "B09", "B10", "B11", "B12"};

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
  throw UserError(str(path.string(), " has no band '", wanted, "': it has ", join(names), note));
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

// The Sentinel-2 band that a word of a file name is: "T29UNU_20221005_B8A_20m.jp2" -> "B8A".
std::string band_token(const fs::path& path) {
  static const std::vector<std::string> suffixes = {".tif", ".tiff", ".jp2", ".vrt", ".img"};
  const auto known = [](const std::vector<std::string>& list, const std::string& word) {
    return std::find(list.begin(), list.end(), word) != list.end();
  };
  if (!known(suffixes, path.extension().string())) return "";
  std::string words = path.stem().string();
  for (char& c : words)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = ' ';
  std::istringstream in(words);
  for (std::string word; in >> word;)
    if (known(sentinel_bands, word)) return word;
  return "";
}

std::vector<fs::path> files_of_folder(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (!band_token(entry.path()).empty()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  if (files.empty())
    throw UserError(str(folder.string(),
                        " holds no band file: names carry a band such as B02 or B8A and end in "
                        ".tif, .jp2 or .vrt"));
  return files;
}

double pixel_width(const Dataset& file) {
  const auto& g = file.grid().geotransform;
  return g ? std::hypot((*g)[1], (*g)[4]) : 1.0 / static_cast<double>(file.grid().width);
}

// One file for each band: the finest where a folder holds a band at several resolutions.
std::map<std::string, Dataset> open_band_files(const fs::path& folder) {
  std::map<std::string, Dataset> files;
  for (const fs::path& path : files_of_folder(folder)) {
    Dataset file = Dataset::open(path);
    if (file.bands().size() != 1)
      throw UserError(str(path.string(), " has ", file.bands().size(),
                          " bands: a file in a folder of bands has one; give a stack by itself"));
    const std::string name = band_token(path);
    const auto at = files.find(name);
    if (at == files.end()) {
      files.emplace(name, std::move(file));
    } else if (pixel_width(file) < pixel_width(at->second)) {
      at->second = std::move(file);
    } else if (pixel_width(file) == pixel_width(at->second)) {
      throw UserError(str("both ", at->second.path().string(), " and ", path.string(), " are band ",
                          name, ": keep one scene to a folder"));
    }
  }
  return files;
}

std::vector<std::string> folder_selection(const fs::path& folder,
                                          const std::map<std::string, Dataset>& files,
                                          const std::vector<std::string>& wanted) {
  std::vector<std::string> there;
  for (const std::string& name : sentinel_bands)
    if (files.contains(name)) there.push_back(name);
  if (wanted.empty()) return there;
  std::vector<std::string> selected;
  for (const std::string& name : wanted) {
    const auto found = std::find_if(there.begin(), there.end(), [&](const std::string& n) {
      return band_key(n) == band_key(name);
    });
    if (found == there.end()) no_such_band(folder, name, there, "");
    selected.push_back(*found);
  }
  return selected;
}

// How many pixels of `fine` one of `coarse` spans. Throws unless they share corners and CRS.
int64_t factor_between(const Grid& fine, const Dataset& coarse) {
  Grid scaled = coarse.grid();
  const int64_t factor = std::max<int64_t>(1, fine.width / std::max<int64_t>(1, scaled.width));
  scaled.width *= factor;
  scaled.height *= factor;
  if (scaled.geotransform)
    for (const size_t i : {1, 2, 4, 5}) (*scaled.geotransform)[i] /= static_cast<double>(factor);
  const std::string difference = grid_difference(fine, scaled);
  if (!difference.empty())
    throw UserError(str(
        coarse.path().string(), " does not fit the finest band: brought to its pixels, ",
        difference, "; mend it with: ", warp_command(fine, coarse.grid(), coarse.path().string())));
  return factor;
}

template <class T>
bool is_nodata(T value, double nodata) {
  if constexpr (std::is_floating_point_v<T>) {
    // Headers give nodata in decimal, so it may be some units in the last place off.
    const auto wanted = static_cast<float>(std::clamp<double>(
        nodata, std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()));
    return std::abs(value - wanted) <= std::abs(wanted) * 5e-7F;
  } else {
    return static_cast<double>(value) == nodata;
  }
}

// Clears `valid` where a sample is nodata or not a finite number.
template <class T>
void clear_invalid(const T* samples, int64_t count, int64_t step, std::optional<double> nodata,
                   uint8_t* valid) {
  const bool check_nodata = nodata && !std::isnan(*nodata);
  for (int64_t i = 0; i < count; ++i) {
    const T value = samples[i * step];
    if constexpr (std::is_floating_point_v<T>)
      if (!std::isfinite(value)) valid[i] = 0;
    if (check_nodata && is_nodata(value, *nodata)) valid[i] = 0;
  }
}

template <class T>
T to_sample(float value) {
  if constexpr (std::is_floating_point_v<T>) {
    return value;
  } else {
    constexpr float low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
    return static_cast<T>(std::lround(std::clamp(value, low, high)));
  }
}

// Refuses what cannot fit before the allocation brings the machine down.
void check_memory(const fs::path& path, const Window& window, int64_t bytes_per_pixel) {
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const double wanted = static_cast<double>(window.width) * static_cast<double>(window.height) *
                        static_cast<double>(bytes_per_pixel);
  if (wanted > memory)
    throw UserError(str("cannot read ", window, " of ", path.string(), ": that takes ",
                        static_cast<int64_t>(wanted / (1 << 20)),
                        " MiB, more than this machine has; read it in smaller windows"));
}

}  // namespace

struct Scene::State {
  fs::path path;
  Grid grid;
  std::vector<SceneBand> bands;
  DType dtype = DType::f32;
  Resampling resampling = Resampling::bilinear;
  std::vector<Source> sources;

  void open_stack(const SceneOptions& options);
  void open_folder(const SceneOptions& options);
  void add_band(const std::string& name, const RasterBand& band, const SceneOptions& options);
  void read_native(const Source& source, const Window& inner, const Window& window,
                   Raster& into) const;
  void read_coarse(const Source& source, const Window& inner, const Window& window,
                   Raster& into) const;
};

void Scene::State::add_band(const std::string& name, const RasterBand& band,
                            const SceneOptions& options) {
  SceneBand added{name, options.nodata ? options.nodata : band.nodata, band.scale, band.offset};
  // An override replaces both: half of a stored calibration means nothing.
  if (options.scale || options.offset) {
    added.scale = options.scale.value_or(1);
    added.offset = options.offset.value_or(0);
  }
  dtype = bands.empty() || dtype == band.dtype ? band.dtype : DType::f32;
  bands.push_back(std::move(added));
}

void Scene::State::open_stack(const SceneOptions& options) {
  Dataset file = Dataset::open(path);
  bool by_position = false, alpha = false;
  const std::vector<std::string> names = stack_names(file.bands(), by_position);
  const std::vector<int> selected = select_bands(file, names, by_position, options.bands);
  if (selected.empty())
    throw UserError(str(path.string(), " has no band beside alpha: name the bands to read"));
  std::vector<int64_t> channels;
  for (const int index : selected) {
    const RasterBand& band = checked_band(file, index);
    add_band(names[static_cast<size_t>(index)], band, options);
    channels.push_back(static_cast<int64_t>(channels.size()));
    alpha = alpha || band.alpha;
  }
  grid = file.grid();
  const bool mask = file.has_mask() && !alpha;
  sources.push_back({std::move(file), selected, channels, 1, mask});
}

void Scene::State::open_folder(const SceneOptions& options) {
  std::map<std::string, Dataset> files = open_band_files(path);
  const std::vector<std::string> names = folder_selection(path, files, options.bands);
  const auto finer = [&](const std::string& a, const std::string& b) {
    return pixel_width(files.at(a)) < pixel_width(files.at(b));
  };
  grid = files.at(*std::min_element(names.begin(), names.end(), finer)).grid();
  for (const std::string& name : names) {
    Dataset& file = files.at(name);
    add_band(name, checked_band(file, 0), options);
    const int64_t factor = factor_between(grid, file), channel = std::ssize(sources);
    const bool mask = file.has_mask();
    sources.push_back({std::move(file), {0}, {channel}, factor, mask});
  }
}

// Straight into the image: the file's pixels are the scene's.
void Scene::State::read_native(const Source& source, const Window& inner, const Window& window,
                               Raster& into) const {
  const auto channels = static_cast<int64_t>(bands.size());
  const int64_t first = (inner.y - window.y) * window.width + inner.x - window.x;
  const int64_t start = first * channels + source.channels.front();
  auto* image =
      static_cast<std::byte*>(into.image.data()) + start * static_cast<int64_t>(size_of(dtype));
  source.file.read(inner, source.bands, dtype, image, channels, channels * window.width);
  uint8_t* valid = into.valid.span<uint8_t>().data() + first;
  with_pixel_type(dtype, [&](auto zero) {
    const auto* samples = reinterpret_cast<const decltype(zero)*>(image);
    for (int64_t row = 0; row < inner.height; ++row)
      for (size_t b = 0; b < source.channels.size(); ++b)
        clear_invalid(samples + row * window.width * channels + static_cast<int64_t>(b),
                      inner.width, channels, bands[static_cast<size_t>(source.channels[b])].nodata,
                      valid + row * window.width);
  });
  if (!source.use_mask) return;
  std::vector<uint8_t> mask(static_cast<size_t>(inner.width * inner.height));
  source.file.read_mask(inner, mask.data());
  for (int64_t i = 0; i < inner.width * inner.height; ++i)
    if (mask[static_cast<size_t>(i)] == 0)
      valid[i / inner.width * window.width + i % inner.width] = 0;
}

// One band of a folder at a coarser resolution: read, interpolate, round to the scene's type.
void Scene::State::read_coarse(const Source& source, const Window& inner, const Window& window,
                               Raster& into) const {
  const Grid& own = source.file.grid();
  Plane coarse{coarse_window(inner, source.factor, own.width, own.height), {}, {}};
  const auto count = static_cast<size_t>(coarse.window.width * coarse.window.height);
  coarse.values.resize(count);
  coarse.valid.assign(count, 1);
  source.file.read(coarse.window, source.bands, DType::f32, coarse.values.data());
  if (source.use_mask) source.file.read_mask(coarse.window, coarse.valid.data());
  const auto channel = static_cast<size_t>(source.channels.front());
  clear_invalid(coarse.values.data(), static_cast<int64_t>(count), 1, bands[channel].nodata,
                coarse.valid.data());
  const Plane fine = upsample(coarse, source.factor, resampling, inner);
  uint8_t* valid = into.valid.span<uint8_t>().data();
  with_pixel_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    T* image = static_cast<T*>(into.image.data());
    for (int64_t i = 0; i < inner.width * inner.height; ++i) {
      const int64_t pixel = (i / inner.width + inner.y - window.y) * window.width +
                            i % inner.width + inner.x - window.x;
      const auto at = static_cast<size_t>(i);
      image[pixel * static_cast<int64_t>(bands.size()) + static_cast<int64_t>(channel)] =
          to_sample<T>(fine.values[at]);
      if (fine.valid[at] == 0) valid[pixel] = 0;
    }
  });
}

Scene::Scene(std::unique_ptr<State> state) : state_(std::move(state)) {}
Scene::Scene(Scene&&) noexcept = default;
Scene& Scene::operator=(Scene&&) noexcept = default;
Scene::~Scene() = default;

const fs::path& Scene::path() const { return state_->path; }
const Grid& Scene::grid() const { return state_->grid; }
const std::vector<SceneBand>& Scene::bands() const { return state_->bands; }
DType Scene::dtype() const { return state_->dtype; }

Scene Scene::open(const fs::path& path, const SceneOptions& options) {
  std::vector<std::string> keys;
  for (const std::string& name : options.bands) {
    keys.push_back(band_key(name));
    if (std::count(keys.begin(), keys.end(), keys.back()) > 1)
      throw UsageError(str("band '", name, "' is asked for twice"));
  }
  auto state = std::make_unique<State>();
  state->path = path;
  state->resampling = options.resampling;
  std::error_code none;
  fs::is_directory(path, none) ? state->open_folder(options) : state->open_stack(options);
  return Scene(std::move(state));
}

Raster Scene::read(const Window& window, Outside outside) const {
  const State& s = *state_;
  UNETD_CHECK(window.width > 0 && window.height > 0, s.path.string(), ": ", window);
  if (outside == Outside::refuse && !s.grid.whole().contains(window))
    throw UserError(str("cannot read ", window, " of ", s.path.string(), ": it is ", s.grid.width,
                        "x", s.grid.height, " pixels; choose a window inside it"));
  const auto channels = static_cast<int64_t>(s.bands.size());
  check_memory(s.path, window, channels * static_cast<int64_t>(size_of(s.dtype)) + 1);
  Raster raster{Tensor({1, window.height, window.width, channels}, s.dtype),
                Tensor({1, window.height, window.width, 1}, DType::u8)};
  const Window inner = intersection(window, s.grid.whole());
  if (inner.width <= 0 || inner.height <= 0) return raster;
  uint8_t* valid = raster.valid.span<uint8_t>().data();
  for (int64_t row = inner.y - window.y; row < inner.y - window.y + inner.height; ++row)
    std::fill_n(valid + row * window.width + inner.x - window.x, inner.width, uint8_t{1});
  for (const Source& source : s.sources)
    source.factor == 1 ? s.read_native(source, inner, window, raster)
                       : s.read_coarse(source, inner, window, raster);
  return raster;
}

std::vector<fs::path> scene_files(const fs::path& path) {
  return fs::is_directory(path) ? files_of_folder(path) : std::vector<fs::path>{path};
}

}  // namespace unetd::io
