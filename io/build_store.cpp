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
#include "io/strips.h"
#include "io/target_maps.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <map>
#include <span>
#include <utility>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

Scene open_scene(const BuildOptions& o, const LabelledScene& source) {
  SceneOptions options = o.scene;
  options.date = source.date;
  return Scene::open(source.scene, options);
}

// A stage of the work on a scene, as StageProgress hears of it.
std::string stage_name(const Scene& scene, const char* stage) {
  return str(scene_name(scene.path()), ": ", stage);
}

// Tells it in the rows of the scene, and that it begins.
Share rows_of(const Scene& scene, const char* stage, const StageProgress& progress) {
  if (!progress) return {};
  const int64_t total = scene.grid().height;
  const auto tell = [what = stage_name(scene, stage), total, &progress](double share) {
    progress(what, std::llround(share * static_cast<double>(total)), total);
  };
  tell(0);
  return tell;
}

// The columns of a strip between which anything is labelled.
Window labelled_part(const Tensor& labels, const Window& rows) {
  const uint8_t* const first = labels.span<uint8_t>().data() + rows.y * rows.width;
  int64_t left = rows.width, right = 0;
  for (int64_t y = 0; y < rows.height; ++y) {
    const uint8_t* const row = first + y * rows.width;
    const auto is_label = [](uint8_t label) { return label != ignore_label; };
    const uint8_t* const from = std::find_if(row, row + rows.width, is_label);
    if (from == row + rows.width) continue;
    left = std::min<int64_t>(left, from - row);
    const auto to = std::find_if(std::reverse_iterator(row + rows.width),
                                 std::reverse_iterator(row + left), is_label);
    right = std::max<int64_t>(right, to.base() - row);
  }
  return {left, rows.y, std::max<int64_t>(right - left, 0), rows.height};
}

// Labels count only where the scene has data. Where nothing is labelled that need not be known.
void ignore_invalid(const Scene& scene, Tensor& labels, const Share& share) {
  const int64_t width = scene.grid().width;
  for_strips(scene.grid(), share, [&](const Window& rows) {
    const Window part = labelled_part(labels, rows);
    if (part.width == 0) return;
    const Tensor valid = scene.read_valid(part);
    for (int64_t y = 0; y < part.height; ++y) {
      const uint8_t* const from = valid.span<uint8_t>().data() + y * part.width;
      uint8_t* const label = labels.span<uint8_t>().data() + (part.y + y) * width + part.x;
      for (int64_t x = 0; x < part.width; ++x)
        if (from[x] == 0) label[x] = ignore_label;
    }
  });
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

// Of targets, where there are any: planning needs no more.
Tensor labels_of(const BuildOptions& o, const LabelledScene& source, const Scene& scene,
                 const StageProgress& progress) {
  if (o.target)
    return TargetRaster::open(source.labels, scene.grid(), *o.target)
        .labels(rows_of(scene, "targets", progress));
  return make_labels(source.labels, source.scene, o.scene, scene.grid(), o.classes,
                     rows_of(scene, "labels", progress));
}

// What is to be cut from a scene, and how its ground is divided.
struct Plan {
  SplitMap map;
  std::vector<PlannedPatch> patches;
};

// The labels that training patches get where others than those of listed tiles are drawn; empty
// where they are the same as all patches'.
Tensor training_labels(const BuildOptions& o, const SplitMap& map, const Tensor& labels) {
  if (map.tiles().empty() || o.sampling.samples == 0) return {};
  Tensor confined = labels.clone();
  confine_to_training_tiles(map, confined);
  return confined;
}

// `number` is the scene's in the store, which random numbers go by.
Plan make_plan(const BuildOptions& o, const LabelledScene& source, int64_t number,
               const Scene& scene, Tensor& labels, const StageProgress& progress) {
  ignore_invalid(scene, labels, rows_of(scene, "search for pixels without data", progress));
  const Share planned = rows_of(scene, "plan of the patches", progress);
  Plan plan{split_map(o, scene, labels, source.split, number), {}};
  const Tensor confined = training_labels(o, plan.map, labels);
  plan.patches = plan_patches(confined.empty() ? labels : confined, plan.map, o.sampling, number);
  // From top to bottom, whatever their splits: so the tiles of a JPEG 2000 file are decoded once.
  std::ranges::stable_sort(plan.patches, {}, [](const PlannedPatch& p) { return p.window.y; });
  if (planned) planned(1);
  return plan;
}

// Of all new sources. Throws UserError naming one that has none.
std::vector<std::string> required_dates(std::span<const StoreSource> sources, const char* purpose) {
  std::vector<std::string> dates;
  for (const StoreSource& source : sources) {
    if (source.date.empty())
      throw UserError(
          str(source.scene, " has no date, which ", purpose,
              " needs: neither a product's nor an item's metadata nor its rasters say when "
              "it was sensed; give it by --date, or go by scenes"));
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

// The labels under a window; 255 outside the scene and where it has no data.
Tensor cut_labels(const Tensor& labels, const Window& window, const Tensor& valid) {
  Tensor out({1, window.height, window.width, 1}, DType::u8);
  const Shape& s = labels.shape();
  const Window inner = intersection(window, {0, 0, s.w, s.h});
  uint8_t* to = out.span<uint8_t>().data();
  std::memset(to, ignore_label, out.bytes());
  for (int64_t y = inner.y; y < inner.y + inner.height; ++y)
    std::copy_n(labels.span<uint8_t>().data() + y * s.w + inner.x, inner.width,
                to + (y - window.y) * window.width + inner.x - window.x);
  for (const uint8_t has_data : valid.span<uint8_t>()) {
    if (has_data == 0) *to = ignore_label;
    ++to;
  }
  return out;
}

// The targets under a window; NaN where its labels are 255.
Tensor cut_targets(const TargetRaster& raster, const Window& window, const Tensor& labels) {
  Tensor targets = raster.read(window);
  float* to = targets.span<float>().data();
  for (const uint8_t label : labels.span<uint8_t>()) {
    if (label == ignore_label) *to = NAN;
    ++to;
  }
  return targets;
}

StoreSchema empty_schema(const BuildOptions& o) {
  const Scene first = open_scene(o, o.sources.front());
  StoreSchema schema;
  schema.patch = o.sampling.patch;
  schema.dtype = first.dtype();
  schema.resampling = o.scene.resampling;
  schema.resolution = o.scene.resolution;
  schema.bands = first.bands();
  schema.classes = o.classes.classes;
  if (o.target) schema.target = Target{o.target->name, o.target->unit};
  return schema;
}

void add_sources(const BuildOptions& o, StoreSchema& schema) {
  for (const LabelledScene& source : o.sources) {
    const Scene scene = open_scene(o, source);
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

// The plan of every new source where no date may have more than so many patches: which are kept
// depends on all scenes of the date, so everything is planned before anything is cut.
std::vector<Plan> plan_by_date(const BuildOptions& o, const StoreSchema& schema, size_t first,
                               const StageProgress& progress) {
  const std::vector<std::string> dates =
      required_dates(std::span(schema.sources).subspan(first), "a limit by date");
  for (size_t i = 0; i < first; ++i)
    if (std::ranges::count(dates, schema.sources[i].date) > 0)
      throw UserError(str("the store has a scene of ", schema.sources[i].date, " already, ",
                          schema.sources[i].scene,
                          ": a limit by date needs all scenes of the date in one run"));
  std::vector<Plan> plans(dates.size());
  std::map<std::string, std::vector<std::vector<PlannedPatch>*>> of_date;
  std::map<std::string, int64_t> stream_of;
  for (size_t i = 0; i < dates.size(); ++i) {
    const auto number = static_cast<int64_t>(first + i);
    const Scene scene = open_scene(o, o.sources[i]);
    Tensor labels = labels_of(o, o.sources[i], scene, progress);
    plans[i] = make_plan(o, o.sources[i], number, scene, labels, progress);
    of_date[dates[i]].push_back(&plans[i].patches);
    stream_of.emplace(dates[i], number);
  }
  for (const auto& [date, lists] : of_date)
    limit_training(lists, o.sampling.max_per_date, o.sampling.seed,
                   random_stream(RandomUse::limiting_dates, stream_of.at(date)));
  return plans;
}

// A store while it is written, with the pictures of it.
class Output {
 public:
  Output(const BuildOptions& o, const StoreSchema& schema)
      : overview_(schema), writer_(o.out, schema, o.overwrite || o.append) {
    if (schema.target)
      target_maps_.emplace(schema);
    else
      class_maps_.emplace(schema);
  }

  const StoreSchema& schema() const { return writer_.schema(); }
  void add(const PatchRecord& record, const Raster& raster, Tensor labels) {
    overview_.add(record, raster);
    if (target_maps_) target_maps_->add(record, labels);
    if (class_maps_) class_maps_->add(record, labels);
    writer_.add(record, raster, std::move(labels));
  }
  StoreSchema finish() {
    if (!schema().patches.empty()) {
      save("statistics.png", statistics_picture(schema().bands, writer_.statistics()));
      save("overview.png", overview_.picture());
      if (target_maps_) save("target.png", target_maps_->picture());
      if (class_maps_) save("classes.png", class_maps_->picture());
    }
    return writer_.finish();
  }

 private:
  void save(const char* name, const Tensor& picture) {
    write_png(writer_.folder() / name, picture, false);
  }

  Overview overview_;
  std::optional<ClassMaps> class_maps_;  // one of the two
  std::optional<TargetMaps> target_maps_;
  PatchStoreWriter writer_;
};

void copy_patches(const PatchStore& from, Output& to, const StageProgress& progress) {
  const std::vector<PatchRecord>& patches = from.schema().patches;
  for (int64_t i = 0; i < std::ssize(patches); ++i) {
    to.add(patches[static_cast<size_t>(i)], from.raster(i), from.labels(i));
    if (progress) progress("patches of the store", i + 1, std::ssize(patches));
  }
}

// A scene with its number in the store, and what is to be cut from it.
struct PlannedScene {
  const LabelledScene& source;
  int64_t number;
  const Scene& scene;
  const Tensor& labels;
  const Plan& plan;
};

// Reads the patches of a scene and adds them with their labels or targets.
void cut_patches(const BuildOptions& o, const PlannedScene& from, Output& out,
                 const StageProgress& progress) {
  const Conversion conversion(out.schema(), from.scene);
  std::optional<TargetRaster> targets;
  if (o.target) targets = TargetRaster::open(from.source.labels, from.scene.grid(), *o.target);
  const Tensor confined = training_labels(o, from.plan.map, from.labels);
  const std::string stage = stage_name(from.scene, "patches with their statistics");
  const int64_t total = std::ssize(from.plan.patches);
  int64_t done = 0;
  if (progress) progress(stage, done, total);
  for (const PlannedPatch& patch : from.plan.patches) {
    Raster raster = from.scene.read(patch.window, Outside::pad);
    conversion.apply(raster);
    const bool use_confined = patch.split == Split::train && !confined.empty();
    Tensor own = cut_labels(use_confined ? confined : from.labels, patch.window, raster.valid);
    if (targets) own = cut_targets(*targets, patch.window, own);
    out.add({from.number, patch.window, patch.split}, raster, std::move(own));
    if (progress) progress(stage, ++done, total);
  }
}

// The schema with all sources, o's last ones, and the patches that were there before.
StoreSchema write_store(BuildOptions o, StoreSchema schema, const PatchStore* before,
                        const StageProgress& progress) {
  const size_t first = schema.sources.size();
  add_sources(o, schema);
  deal(o, std::span(schema.sources).subspan(first));
  std::vector<Plan> plans;
  if (o.sampling.max_per_date > 0) plans = plan_by_date(o, schema, first, progress);
  Output out(o, schema);
  if (before != nullptr) copy_patches(*before, out, progress);
  for (size_t i = 0; i < o.sources.size(); ++i) {
    const auto number = static_cast<int64_t>(first + i);
    const Scene scene = open_scene(o, o.sources[i]);
    Tensor labels = labels_of(o, o.sources[i], scene, progress);
    const Plan plan = plans.empty() ? make_plan(o, o.sources[i], number, scene, labels, progress)
                                    : std::move(plans[i]);
    cut_patches(o, {o.sources[i], number, scene, labels, plan}, out, progress);
  }
  return out.finish();
}

// The one class that stands for the target.
std::vector<ClassInfo> class_of_target(const BuildOptions& o) {
  check(*o.target);
  if (!o.classes.classes.empty()) throw UsageError("a store has classes or a target, not both");
  return {output_of({o.target->name, o.target->unit})};
}

}  // namespace

StoreSchema build_store(const BuildOptions& options, const StageProgress& progress) {
  BuildOptions o = options;
  if (o.target) o.classes.classes = class_of_target(o);
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
