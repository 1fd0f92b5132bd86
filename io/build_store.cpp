#include "io/build_store.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "io/append_store.h"
#include "io/class_maps.h"
#include "io/conform.h"
#include "io/draw.h"
#include "io/gdal.h"
#include "io/gdal_quicklook.h"
#include "io/label_sources.h"
#include "io/overview.h"
#include "io/statistics_picture.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <span>
#include <utility>

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

// `number` is the scene's in the store, which random numbers go by; `known` patches are not planned
// again.
Plan make_plan(const BuildOptions& o, const LabelledScene& source, int64_t number,
               const std::vector<PlannedPatch>* known = nullptr) {
  Plan plan{Scene::open(source.scene, o.scene), {}, {}, {}};
  Stages stages(plan.scene);
  plan.labels = make_labels(source.labels, source.scene, o.scene, plan.scene.grid(), o.classes);
  stages.done("labels");
  ignore_invalid(plan.scene, plan.labels);
  stages.done("search for pixels without data");
  const SplitMap map = split_map(o, plan.scene, plan.labels, source.split, number);
  if (!map.tiles().empty() && o.sampling.samples > 0) {
    plan.training_labels = plan.labels.clone();
    confine_to_training_tiles(map, plan.training_labels);
  }
  const Tensor& labels = plan.training_labels.empty() ? plan.labels : plan.training_labels;
  plan.patches = known != nullptr ? *known : plan_patches(labels, map, o.sampling, number);
  // From top to bottom, whatever their splits: so the tiles of a JPEG 2000 file are decoded once.
  std::ranges::stable_sort(plan.patches, {}, [](const PlannedPatch& p) { return p.window.y; });
  stages.done("plan of the patches");
  return plan;
}

// Of all new sources. Throws UserError naming one that has none.
std::vector<std::string> required_dates(std::span<const StoreSource> sources, const char* purpose) {
  std::vector<std::string> dates;
  for (const StoreSource& source : sources) {
    if (source.date.empty())
      throw UserError(str(source.scene, " has no date, which ", purpose,
                          " needs: only Sentinel-2 products say when they were sensed; give the "
                          "product itself, or go by scenes"));
    dates.push_back(source.date);
  }
  return dates;
}

// Gives each source its split, unless the method divides ground.
void deal(BuildOptions& o, std::span<const StoreSource> sources) {
  const auto given =
      std::ranges::count_if(o.sources, [](const auto& s) { return s.split.has_value(); });
  if (given == std::ssize(o.sources)) return;
  if (given != 0)
    throw UsageError("some scenes are given a split and others none: give one to each or to none");
  const SplitOptions::Method method = o.split.method;
  if (method != SplitOptions::Method::scene && method != SplitOptions::Method::date) return;
  if (o.append)
    throw UsageError(
        "a share of scenes or dates depends on all of them, so none can be added to a store: give "
        "the new ones by --train, --valid and --test, or divide by blocks");
  const std::vector<Split> splits =
      method == SplitOptions::Method::scene
          ? deal_scenes(std::ssize(o.sources), o.split, o.sampling.seed)
          : deal_dates(required_dates(sources, "a split by date"), o.split, o.sampling.seed);
  for (size_t i = 0; i < splits.size(); ++i) o.sources[i].split = splits[i];
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
  return schema;
}

void add_sources(const BuildOptions& o, StoreSchema& schema) {
  for (const LabelledScene& source : o.sources) {
    const Scene scene = Scene::open(source.scene, o.scene);
    Grid grid = scene.grid();
    grid.crs = grid.crs.empty() ? "" : crs_name(grid.crs);
    grid.control_points.clear();
    schema.sources.push_back({source.scene.string(), source.labels.string(),
                              file_bytes(source.scene), file_bytes(source.labels), std::move(grid),
                              scene.date()});
    check_conforms(schema, scene);
    log_info(describe(scene));
  }
}

// The patches of every new source where no date may have more than so many: which are kept depends
// on all scenes of the date, so everything is planned before anything is cut.
std::vector<std::vector<PlannedPatch>> plan_by_date(const BuildOptions& o,
                                                    const StoreSchema& schema, size_t first) {
  const std::vector<std::string> dates =
      required_dates(std::span(schema.sources).subspan(first), "a limit by date");
  for (size_t i = 0; i < first; ++i)
    if (std::ranges::count(dates, schema.sources[i].date) > 0)
      throw UserError(str("the store has a scene of ", schema.sources[i].date, " already, ",
                          schema.sources[i].scene,
                          ": a limit by date needs all scenes of the date in one run"));
  std::vector<std::vector<PlannedPatch>> patches(dates.size());
  std::map<std::string, std::vector<std::vector<PlannedPatch>*>> of_date;
  std::map<std::string, int64_t> stream_of;
  for (size_t i = 0; i < dates.size(); ++i) {
    const auto number = static_cast<int64_t>(first + i);
    patches[i] = make_plan(o, o.sources[i], number).patches;
    of_date[dates[i]].push_back(&patches[i]);
    stream_of.emplace(dates[i], number);
  }
  for (const auto& [date, lists] : of_date)
    limit_training(lists, o.sampling.max_per_date, o.sampling.seed,
                   random_stream(RandomUse::limiting_dates, stream_of.at(date)));
  return patches;
}

// A store while it is written, with the pictures of it.
class Output {
 public:
  Output(const BuildOptions& o, const StoreSchema& schema)
      : overview_(schema), maps_(schema), writer_(o.out, schema, o.overwrite || o.append) {}

  const StoreSchema& schema() const { return writer_.schema(); }
  void add(const PatchRecord& record, const Raster& raster, Tensor labels) {
    overview_.add(record, raster);
    maps_.add(record, labels);
    writer_.add(record, raster, std::move(labels));
  }
  StoreSchema finish() {
    if (!schema().patches.empty()) {
      save("statistics.png", statistics_picture(schema().bands, writer_.statistics()));
      save("overview.png", overview_.picture());
      save("classes.png", maps_.picture());
    }
    return writer_.finish();
  }

 private:
  void save(const char* name, const Tensor& picture) {
    write_png(writer_.folder() / name, picture, false);
  }

  Overview overview_;
  ClassMaps maps_;
  PatchStoreWriter writer_;
};

// The schema with all sources, o's last ones, and the patches that were there before.
StoreSchema write_store(BuildOptions o, StoreSchema schema, const PatchStore* before,
                        const Progress& progress) {
  const size_t first = schema.sources.size();
  add_sources(o, schema);
  deal(o, std::span(schema.sources).subspan(first));
  std::vector<std::vector<PlannedPatch>> known;
  if (o.sampling.max_per_date > 0) known = plan_by_date(o, schema, first);
  Output out(o, schema);
  int64_t done = 0, total = 0;
  const auto add = [&](const PatchRecord& record, const Raster& raster, Tensor labels) {
    out.add(record, raster, std::move(labels));
    if (progress) progress(++done, total);
  };
  if (before != nullptr) {
    total = std::ssize(before->schema().patches);
    for (int64_t i = 0; i < total; ++i)
      add(before->schema().patches[static_cast<size_t>(i)], before->raster(i), before->labels(i));
  }
  for (size_t i = 0; i < o.sources.size(); ++i) {
    const auto number = static_cast<int64_t>(first + i);
    const Plan plan = make_plan(o, o.sources[i], number, known.empty() ? nullptr : &known[i]);
    const Conversion conversion(out.schema(), plan.scene);
    total += std::ssize(plan.patches);
    Stages stages(plan.scene);
    for (const PlannedPatch& patch : plan.patches) {
      Raster raster = plan.scene.read(patch.window, Outside::pad);
      conversion.apply(raster);
      const bool confined = patch.split == Split::train && !plan.training_labels.empty();
      add({number, patch.window, patch.split}, raster,
          cut_labels(confined ? plan.training_labels : plan.labels, patch.window));
    }
    stages.done(str(plan.patches.size(), " patches with their statistics"));
  }
  return out.finish();
}

}  // namespace

StoreSchema build_store(const BuildOptions& o, const Progress& progress) {
  check(o.classes);
  if (o.sources.empty()) throw UsageError("no scene is given");
  if (o.sampling.patch <= 0) throw UsageError(str("patch size ", o.sampling.patch));
  if (!o.append) return write_store(o, empty_schema(o), nullptr, progress);
  if (o.overwrite) throw UsageError("a store is overwritten or appended to, not both");
  const PatchStore before = PatchStore::open(o.out);
  check_continues(before, o);
  BuildOptions more = o;
  more.sources = sources_not_in(before, o.sources);
  if (!more.sources.empty())
    return write_store(std::move(more), schema_to_continue(before), &before, progress);
  log_warning(o.out.string(), " has all these scenes already");
  return before.schema();
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
