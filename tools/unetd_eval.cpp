// unetd-eval: a model and labelled data in, scores out.
#include "engine/base/threads.h"
#include "io/gdal_map_writer.h"
#include "io/label_sources.h"
#include "io/loader.h"
#include "io/picture.h"
#include "io/targets.h"
#include "kernels/register.h"
#include "tools/class_file.h"
#include "tools/cli.h"
#include "tools/report/report.h"
#include "tools/scene_flags.h"
#include "tools/scene_map.h"
#include "tools/scores_json.h"
#include "unet/runtime.h"

#include <cmath>
#include <functional>
#include <iostream>
#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

namespace {

using namespace unetd;
using cli::Args;

cli::Spec spec() {
  cli::Spec spec{
      .program = "unetd-eval",
      .summary = "score a model on labelled data",
      .description =
          "Scores a model on a split of a patch store, or on a whole scene with a label raster. "
          "One confusion matrix is summed over all pixels; from it come IoU, Dice, precision, "
          "recall and accuracy of each class and their means. Pixels labelled 255 are left out. Of "
          "a "
          "store the classes are also scored each by itself, where their probability exceeds "
          "metrics.threshold, and the probabilities against how often they hold (calibration).\n\n"
          "Of a model that was trained on targets the values are scored, in their unit: RMSE, MAE, "
          "bias, R2, and by how much the totals of patches (or tiles of a scene) are off.",
      .flags = {{.name = "--model", .value = "FILE", .help = "checkpoint", .required = true},
                {.name = "--data", .value = "STORE", .help = "patch store"},
                {.name = "--split",
                 .value = "NAME",
                 .help = "of the store",
                 .fallback = "test",
                 .choices = {"train", "valid", "test"}},
                {.name = "--scene", .value = "SCENE", .help = "a scene instead of a store"},
                {.name = "--labels",
                 .value = "LABELS",
                 .help = "of the scene: a raster on its grid, vectors, SCL or rules; or a raster "
                         "of targets"},
                {.name = "--classes",
                 .value = "FILE.yml",
                 .help = "what the labels mean where it is not what the model was trained with, or "
                         "where they are no raster (docs/labels.md)"},
                {.name = "--difference",
                 .value = "TIF",
                 .help = "write where a scene's map and labels agree (0) and differ (1), or the "
                         "errors of values"},
                {.name = "--report",
                 .value = "HTML",
                 .help =
                     "write a page with the scores, a picture of the differences in each scene, "
                     "and, of a store, its classes and sample patches"},
                cli::key_flag("--tile", "inference.tile"),
                cli::key_flag("--stitch", "inference.stitch"),
                cli::key_flag("--tta", "inference.tta")},
      .groups = {"metrics", "inference", "runtime"},
      .json = true,
      .overwrite = true,
      .examples =
          "unetd-eval --model run/best.ckpt --data store --report scores.html\n"
          "unetd-eval --model run/best.ckpt --scene scene.tif --labels labels.tif\n"};
  for (cli::Flag& flag : cli::scene_flags()) spec.flags.push_back(std::move(flag));
  return spec;
}

// Classes or values of patches, over the turns that the model's settings ask for.
class PatchModel {
 public:
  explicit PatchModel(const ModelFile& model)
      : model_(model),
        constants_(model.normalisation.constants()),
        views_(views_of(model.config.inference.tta)),
        predictor_(model.params, model.unet, session_options(model.config), model.independent()) {}

  Tensor predict(const Tensor& image, const Tensor& valid) {
    const Images images(image, valid, constants_);
    if (!model_.target) return predictor_.classes(images, views_);
    Tensor values = predictor_.values(images, views_);
    bring_to_unit(values.span<float>(), model_.target->scale);
    return values;
  }
  // Counts the classes of a batch.
  void count(const io::Batch& batch, const ScoreCounter& counter) {
    predictor_.count({batch.image, batch.valid, constants_}, batch.label, views_, counter);
  }

 private:
  const ModelFile& model_;
  std::vector<BandConstants> constants_;
  int views_;
  Predictor predictor_;
};

// The page of --report for a split of a store: another pass over its patches, for the differences.
void write_page(const Args& args, const ModelFile& model, const io::PatchStore& store,
                PatchModel& patches, const Counts& counts) {
  const io::Split split = io::parse_split(args.text("--split"));
  const auto result = to_json(counts, model.classes);
  const auto predict = [&](const io::Raster& p) { return patches.predict(p.image, p.valid); };
  cli::Progress progress("comparing", std::ssize(store.indices(split)), "patches");
  const io::StoreSchema& schema = store.schema();
  report::write_report(
      args.path("--report"),
      {.model = args.text("--model"),
       .data = args.text("--split") + " split of " + args.text("--data"),
       .scores = result,
       .config = to_yaml(model.config),
       .classes = model.classes,
       .target = schema.target ? &*schema.target : nullptr,
       .store = &schema,
       .differences = report::scene_differences(store, split, predict,
                                                [&](int64_t done) { progress.update(done); }),
       .samples = report::draw_samples(store, report::choose_patches(store, split), predict)});
}

// The values of each patch that a batch holds.
void add_errors(const io::Batch& batch, const Tensor& values, ErrorTally& tally) {
  const auto truth = batch.label.span<float>(), found = values.span<float>();
  const size_t pixels = truth.size() / static_cast<size_t>(batch.label.shape().n);
  for (size_t i = 0; i < static_cast<size_t>(batch.filled); ++i)
    tally.add(image_errors(found.subspan(i * pixels, pixels), truth.subspan(i * pixels, pixels)));
}

Counts score_store(const Args& args, const ModelFile& model) {
  const io::PatchStore store = io::PatchStore::open(args.path("--data"));
  check_store(model, store.schema(), args.text("--data"));
  io::LoaderOptions options = io::LoaderOptions::evaluation(model.config.training.batch);
  io::Loader loader(store, io::parse_split(args.text("--split")), options);
  PatchModel patches(model);
  ScoreCounter counter(open_device(model.config.runtime.device), model.unet.classes,
                       model.config.metrics.threshold);
  ErrorTally errors;
  {
    cli::Progress progress("scoring", loader.batches_per_epoch(), "batches");
    for (int64_t i = 0; i < loader.batches_per_epoch(); ++i) {
      const io::Batch batch = loader.next();
      if (model.target) {
        add_errors(batch, patches.predict(batch.image, batch.valid), errors);
      } else {
        patches.count(batch, counter);
      }
      progress.update(i + 1);
    }
  }
  Counts counts = model.target ? Counts(errors) : Counts(counter.take());
  if (args.has("--report")) write_page(args, model, store, patches, counts);
  return counts;
}

// Copies the part of the label raster that a window covers.
Tensor labels_in(const Tensor& labels, const io::Window& w) {
  return io::crop(labels, {0, 0, labels.shape().w, labels.shape().h}, w);
}

io::ClassMap class_map(const Args& args, const ModelFile& model) {
  io::ClassMap map;
  map.classes = model.classes;
  map.ignore = {io::ignore_label};
  if (!args.has("--classes")) return map;
  map = read_class_file(args.path("--classes"), "255");
  const auto names = [](const std::vector<io::ClassInfo>& classes) {
    std::string list;
    for (const io::ClassInfo& c : classes) list += (list.empty() ? "" : ", ") + c.name;
    return list;
  };
  if (names(map.classes) != names(model.classes))
    throw UsageError(str("--classes: the model knows ", names(model.classes), ", the file says ",
                         names(map.classes)));
  return map;
}

// What is true of a scene, window by window: classes u8 or targets f32.
std::function<Tensor(const io::Window&)> truth_of(const Args& args, const ModelFile& model,
                                                  const io::Scene& scene) {
  if (model.target) {
    if (args.has("--classes")) throw UsageError("--classes: the model predicts values");
    auto raster = std::make_shared<io::TargetRaster>(
        io::TargetRaster::open(args.path("--labels"), scene.grid(),
                               {model.target->data.name, model.target->data.unit, {}}));
    return [raster](const io::Window& window) { return raster->read(window); };
  }
  auto labels =
      std::make_shared<Tensor>(io::make_labels(args.path("--labels"), args.path("--scene"),
                                               model.scene, scene.grid(), class_map(args, model)));
  return [labels](const io::Window& window) { return labels_in(*labels, window); };
}

// A map of differences as a file.
io::MapWriter difference_writer(const Args& args, const ModelFile& model, const io::Grid& grid) {
  io::MapOptions options;
  options.overwrite = args.overwrite();
  if (model.target) {
    options.emit = io::Emit::values;
    options.classes = {{"error of " + model.target->data.name, {}}};
    options.unit = model.target->data.unit;
    options.outputs = 1;
  } else {
    options.classes = {{"agree", io::difference_colors[0]}, {"differ", io::difference_colors[1]}};
  }
  return {args.path("--difference"), grid, options};
}

// Differences as that file holds them, and where there are any.
struct DifferencePart {
  DifferencePart(const std::vector<float>& differences, const Shape& shape, bool of_values)
      : map(shape, of_values ? DType::f32 : DType::u8), known(shape, DType::u8) {
    for (size_t i = 0; i < differences.size(); ++i) {
      const bool is_known = !std::isnan(differences[i]);
      known.span<uint8_t>()[i] = is_known ? 1 : 0;
      if (of_values) {
        map.span<float>()[i] = differences[i];
      } else if (is_known) {
        map.span<uint8_t>()[i] = static_cast<uint8_t>(differences[i]);
      }
    }
  }
  Tensor map, known;
};

// The truth of pixels without data is not known either.
void forget_invalid(Tensor& truth, const Tensor& valid) {
  const auto has_data = valid.span<uint8_t>();
  for (size_t i = 0; i < has_data.size(); ++i) {
    if (has_data[i] != 0) continue;
    if (truth.dtype() == DType::f32) {
      truth.span<float>()[i] = no_target;
    } else {
      truth.span<uint8_t>()[i] = io::ignore_label;
    }
  }
}

// Counts a scene part by part; of values each part is an image of its own, in the scale of a
// network that gives them in their unit.
class SceneScore {
 public:
  explicit SceneScore(const ModelFile& model)
      : classes_(static_cast<int64_t>(model.classes.size())),
        of_values_(model.target.has_value()) {}

  void add(const Tensor& truth, const Tensor& found) {
    if (of_values_) {
      errors_.add(image_errors(found.span<float>(), truth.span<float>()));
    } else {
      classes_.add(truth.span<uint8_t>(), found.span<uint8_t>());
    }
  }
  Counts counts() const { return of_values_ ? Counts(errors_) : Counts(Tallies{classes_, {}}); }

 private:
  Confusion classes_;
  ErrorTally errors_;
  bool of_values_;
};

Counts score_scene(const Args& args, const ModelFile& model) {
  const io::Scene scene = open_scene(args.path("--scene"), model);
  const auto truth_in = truth_of(args, model, scene);
  std::optional<io::MapWriter> difference;
  if (args.has("--difference")) difference.emplace(difference_writer(args, model, scene.grid()));
  SceneScore score(model);
  report::DifferenceMap overview(scene.grid().whole());
  SceneMapper mapper(model, model.target ? Outputs::values : Outputs::classes);
  std::optional<cli::Progress> progress;
  mapper.map(
      scene,
      [&](const io::Window& window, const Tensor& found, const Tensor& valid) {
        Tensor truth = truth_in(window);
        forget_invalid(truth, valid);
        score.add(truth, found);
        if (!difference && !args.has("--report")) return;
        const std::vector<float> differences = report::differences(truth, found);
        overview.add(window, differences);
        if (!difference) return;
        const DifferencePart part(differences, valid.shape(), model.target.has_value());
        difference->write(window, part.map, part.known);
      },
      [&](int64_t done, int64_t total) {
        if (!progress) progress.emplace("scoring", total, "tiles");
        progress->update(done);
      });
  if (difference) difference->finish();
  if (args.has("--report")) {
    const auto result = to_json(score.counts(), model.classes);
    report::write_report(args.path("--report"),
                         {.model = args.text("--model"),
                          .data = args.text("--scene") + ", labels " + args.text("--labels"),
                          .scores = result,
                          .config = to_yaml(model.config),
                          .classes = model.classes,
                          .target = model.target ? &model.target->data : nullptr,
                          .differences = {{args.path("--scene").filename().string(), overview}}});
  }
  return score.counts();
}

void eval(const Args& args) {
  const bool store = args.has("--data"), scene = args.has("--scene") && args.has("--labels");
  if (store == scene) throw UsageError("give either --data, or --scene with --labels");
  if (store && args.has("--difference"))
    throw UsageError("--difference needs --scene and --labels");
  if (const auto page = args.path("--report");
      !page.empty() && std::filesystem::exists(page) && !args.overwrite()) {
    throw UserError(str(page.string(), " exists; choose another name or allow --overwrite"));
  }
  register_kernels();
  ModelFile model =
      open_model(args.path("--model"), [&](const Config& stored) { return args.config(stored); });
  cli::apply_scene_flags(args, model.scene);
  if (model.config.runtime.threads > 0) {
    set_thread_count(static_cast<int>(model.config.runtime.threads));
  }
  const Counts counts = store ? score_store(args, model) : score_scene(args, model);
  if (args.json()) {
    std::cout << to_json(counts, model.classes).dump(1) << '\n';
  } else {
    std::cout << to_table(counts, model.classes);
  }
}

}  // namespace

int main(int argc, char** argv) { return cli::run(argc, argv, spec(), eval); }
