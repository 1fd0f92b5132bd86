#include "io/build_store.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/pixel_type.h"
#include "io/label_sources.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <type_traits>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

// A scene with its labels, which are 255 where it has no data, and what is to be cut from it.
struct Plan {
  Scene scene;
  Tensor labels;
  Tensor training_labels;  // empty: the same
  std::vector<PlannedPatch> patches;
};

// Tells how long each part of the work on a scene took.
class Stages {
 public:
  explicit Stages(const Scene& scene) : scene_(scene_name(scene.path())) {}
  void done(const std::string& what) {
    const auto now = Clock::now();
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.1f s",
                  std::chrono::duration<double>(now - start_).count());
    log_info(scene_, ": ", what, ": ", seconds);
    start_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::string scene_;
  Clock::time_point start_ = Clock::now();
};

std::string band_list(const Scene& scene) {
  std::string text;
  for (const SceneBand& band : scene.bands()) text += (text.empty() ? "" : ",") + band.name;
  return text;
}

void check_alike(const Scene& first, const Scene& other) {
  if (band_list(first) != band_list(other))
    throw UserError(str(other.path().string(), " has bands ", band_list(other), ", but ",
                        first.path().string(), " has ", band_list(first),
                        ": choose common ones with --bands"));
  if (first.dtype() != other.dtype())
    throw UserError(str(other.path().string(), " holds ", name_of(other.dtype()), " samples, but ",
                        first.path().string(), " holds ", name_of(first.dtype()),
                        ": convert one with gdal_translate -ot"));
}

// What to add to stored samples of `scene` to mean the same as in `first`.
std::vector<double> offsets_between(const Scene& first, const Scene& scene) {
  std::vector<double> shifts;
  for (size_t b = 0; b < scene.bands().size(); ++b) {
    const SceneBand &to = first.bands()[b], &from = scene.bands()[b];
    const double shift = (from.offset - to.offset) / to.scale, whole = std::round(shift);
    if (std::abs(from.scale - to.scale) > 1e-9 * std::abs(to.scale) ||
        (scene.dtype() != DType::f32 && std::abs(shift - whole) > 1e-3))
      throw UserError(str("band ", from.name, " of ", scene.path().string(),
                          " has another scale or offset than in ", first.path().string(),
                          " and no whole number between them: convert one with gdal_translate "
                          "-scale"));
    shifts.push_back(scene.dtype() == DType::f32 ? shift : whole);
  }
  return shifts;
}

// Adds to valid samples, kept within the range of their type.
void shift_samples(Raster& raster, const std::vector<double>& shifts) {
  if (std::all_of(shifts.begin(), shifts.end(), [](double s) { return s == 0; })) return;
  const auto valid = raster.valid.span<uint8_t>();
  with_pixel_type(raster.image.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* sample = static_cast<T*>(raster.image.data());
    for (const uint8_t v : valid) {
      for (const double shift : shifts) {
        const double low = std::numeric_limits<T>::lowest(), high = std::numeric_limits<T>::max();
        if (v != 0) *sample = static_cast<T>(std::clamp(*sample + shift, low, high));
        ++sample;
      }
    }
  });
}

// Labels count only where the scene has data.
void ignore_invalid(const Scene& scene, Tensor& labels) {
  const Grid& grid = scene.grid();
  uint8_t* label = labels.span<uint8_t>().data();
  constexpr int64_t rows_at_once = 256;
  for (int64_t y = 0; y < grid.height; y += rows_at_once) {
    const Window rows{0, y, grid.width, std::min(rows_at_once, grid.height - y)};
    const Raster raster = scene.read(rows);
    for (const uint8_t valid : raster.valid.span<uint8_t>()) {
      if (valid == 0) *label = ignore_label;
      ++label;
    }
  }
}

SplitMap split_map(const BuildOptions& o, const Scene& scene, const Tensor& labels,
                   std::optional<Split> whole, int64_t number) {
  if (whole) return SplitMap::whole(*whole);
  if (o.split.method == SplitOptions::Method::blocks)
    return SplitMap::blocks(labels, o.split, o.sampling.patch, number, o.sampling.seed);
  if (o.sources.size() != 1)
    throw UsageError(str("a tile list divides one scene, not ", o.sources.size(),
                         ": build the stores one by one, or divide by scene or blocks"));
  std::vector<ListedTile> tiles = read_tile_list(o.split.list);
  for (const ListedTile& tile : tiles)
    if (!scene.grid().whole().contains(tile.window))
      throw UserError(str("tile list ", o.split.list.string(), ": tile ", tile.window,
                          " lies outside ", scene.path().string(), ", which is ",
                          scene.grid().width, "x", scene.grid().height));
  return SplitMap::listed(std::move(tiles), o.split);
}

Plan make_plan(const BuildOptions& o, size_t number, std::optional<Split> whole) {
  Plan plan{Scene::open(o.sources[number].scene, o.scene), {}, {}, {}};
  const LabelledScene& source = o.sources[number];
  log_info(describe(plan.scene));
  Stages stages(plan.scene);
  plan.labels = make_labels(source.labels, source.scene, o.scene, plan.scene.grid(), o.classes);
  stages.done("labels");
  ignore_invalid(plan.scene, plan.labels);
  stages.done("search for pixels without data");
  const auto scene = static_cast<int64_t>(number);
  const SplitMap map = split_map(o, plan.scene, plan.labels, whole, scene);
  if (!map.tiles().empty() && o.sampling.samples > 0) {
    plan.training_labels = plan.labels.clone();
    confine_to_training_tiles(map, plan.training_labels);
  }
  const Tensor& labels = plan.training_labels.empty() ? plan.labels : plan.training_labels;
  plan.patches = plan_patches(labels, map, o.sampling, scene);
  // From top to bottom, whatever their splits: so the tiles of a JPEG 2000 file are decoded once.
  std::ranges::stable_sort(plan.patches, {}, [](const PlannedPatch& p) { return p.window.y; });
  stages.done("plan of the patches");
  return plan;
}

// The splits given with the sources, or dealt by scene; empty if the method divides ground.
std::vector<Split> splits_of_scenes(const BuildOptions& o) {
  std::vector<Split> splits;
  for (const LabelledScene& source : o.sources)
    if (source.split) splits.push_back(*source.split);
  if (!splits.empty() && splits.size() != o.sources.size())
    throw UsageError("some scenes are given a split and others none: give one to each or to none");
  if (splits.empty() && o.split.method == SplitOptions::Method::scene)
    splits = deal_scenes(std::ssize(o.sources), o.split, o.sampling.seed);
  return splits;
}

int64_t bytes_of(const fs::path& path) {
  int64_t total = 0;
  for (const fs::path& file : scene_files(path)) {
    std::error_code none;  // GDAL also opens names that are no files
    const uintmax_t size = fs::file_size(file, none);
    if (!none) total += static_cast<int64_t>(size);
  }
  return total;
}

// The labels under a window; 255 outside the scene.
Tensor cut_labels(const Tensor& labels, const Window& window) {
  Tensor out({1, window.height, window.width, 1}, DType::u8);
  const Shape& s = labels.shape();
  const Window inner = intersection(window, {0, 0, s.w, s.h});
  uint8_t* to = out.span<uint8_t>().data();
  std::memset(to, ignore_label, out.bytes());
  for (int64_t y = inner.y; y < inner.y + inner.height; ++y)
    std::copy_n(labels.span<uint8_t>().data() + y * s.w + inner.x, inner.width,
                to + (y - window.y) * window.width + inner.x - window.x);
  return out;
}

StoreSchema empty_schema(const BuildOptions& o) {
  const Scene first = Scene::open(o.sources.front().scene, o.scene);
  StoreSchema schema;
  schema.patch = o.sampling.patch;
  schema.dtype = first.dtype();
  schema.resampling = o.scene.resampling;
  schema.resolution = o.scene.resolution;
  schema.bands = first.bands();
  schema.classes = o.classes.classes;
  for (const LabelledScene& source : o.sources) {
    check_alike(first, Scene::open(source.scene, o.scene));
    schema.sources.push_back({source.scene.string(), source.labels.string(), bytes_of(source.scene),
                              bytes_of(source.labels)});
  }
  return schema;
}

}  // namespace

StoreSchema build_store(const BuildOptions& o, const Progress& progress) {
  check(o.classes);
  if (o.sources.empty()) throw UsageError("no scene is given");
  if (o.sampling.patch <= 0) throw UsageError(str("patch size ", o.sampling.patch));
  const std::vector<Split> splits = splits_of_scenes(o);
  PatchStoreWriter writer(o.out, empty_schema(o), o.overwrite);
  const Scene first = Scene::open(o.sources.front().scene, o.scene);
  int64_t done = 0, total = 0;
  for (size_t i = 0; i < o.sources.size(); ++i) {
    const Plan plan = make_plan(o, i, splits.empty() ? std::nullopt : std::optional(splits[i]));
    const std::vector<double> shifts = offsets_between(first, plan.scene);
    total += std::ssize(plan.patches);
    Stages stages(plan.scene);
    for (const PlannedPatch& patch : plan.patches) {
      Raster raster = plan.scene.read(patch.window, Outside::pad);
      shift_samples(raster, shifts);
      const bool confined = patch.split == Split::train && !plan.training_labels.empty();
      writer.add({static_cast<int64_t>(i), patch.window, patch.split}, raster,
                 cut_labels(confined ? plan.training_labels : plan.labels, patch.window));
      if (progress) progress(++done, total);
    }
    stages.done(str(plan.patches.size(), " patches with their statistics"));
  }
  return writer.finish();
}

std::vector<LabelledScene> pair_by_stem(const fs::path& scenes, const fs::path& labels,
                                        std::optional<Split> split) {
  const auto by_stem = [](const fs::path& folder) {
    std::map<std::string, fs::path> files;
    if (!fs::is_directory(folder))
      throw UserError(str(folder.string(), " is no folder of rasters"));
    for (const auto& entry : fs::directory_iterator(folder)) {
      const fs::path& path = entry.path();
      if (path.extension() != ".tif" && path.extension() != ".tiff" && path.extension() != ".vrt" &&
          path.extension() != ".jp2" && path.extension() != ".png")
        continue;
      const auto [at, added] = files.emplace(path.stem().string(), path);
      if (!added)
        throw UserError(str("both ", at->second.string(), " and ", path.string(),
                            " have the same stem: keep one"));
    }
    return files;
  };
  const std::map<std::string, fs::path> images = by_stem(scenes), masks = by_stem(labels);
  std::vector<LabelledScene> pairs;
  for (const auto& [stem, image] : images) {
    if (!masks.contains(stem))
      throw UserError(
          str(image.string(), " has no label raster named ", stem, " in ", labels.string()));
    pairs.push_back({image, masks.at(stem), split});
  }
  for (const auto& [stem, mask] : masks)
    if (!images.contains(stem))
      throw UserError(str(mask.string(), " has no scene named ", stem, " in ", scenes.string()));
  if (pairs.empty()) throw UserError(str(scenes.string(), " holds no raster"));
  return pairs;
}

}  // namespace unetd::io
