// unetd-eval: a model and labelled data in, scores out.
#include "engine/base/threads.h"
#include "io/gdal_map_writer.h"
#include "io/label_sources.h"
#include "io/loader.h"
#include "io/picture.h"
#include "kernels/register.h"
#include "tools/class_file.h"
#include "tools/cli.h"
#include "tools/report/report.h"
#include "tools/scene_flags.h"
#include "tools/scene_map.h"
#include "tools/scores_json.h"
#include "unet/runtime.h"

#include <iostream>
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
          "metrics.threshold, and the probabilities against how often they hold (calibration).",
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
                 .help = "of the scene: a raster on its grid, vectors, SCL or rules"},
                {.name = "--classes",
                 .value = "FILE.yml",
                 .help = "what the labels mean where it is not what the model was trained with, or "
                         "where they are no raster (docs/labels.md)"},
                {.name = "--difference",
                 .value = "TIF",
                 .help = "write where a scene's map and labels agree (0) and differ (1)"},
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

// The page of --report for a split of a store: another pass over its patches, for the differences.
void write_page(const Args& args, const ModelFile& model, const io::PatchStore& store,
                Predictor& predictor, const Tallies& tallies) {
  const int views = views_of(model.config.inference.tta);
  const io::Split split = io::parse_split(args.text("--split"));
  const auto result = to_json(tallies, model.classes);
  const std::vector<BandConstants> constants = model.normalisation.constants();
  const auto predict = [&](const io::Raster& p) {
    return predictor.classes({p.image, p.valid, constants}, views);
  };
  cli::Progress progress("comparing", std::ssize(store.indices(split)), "patches");
  report::write_report(
      args.path("--report"),
      {.model = args.text("--model"),
       .data = args.text("--split") + " split of " + args.text("--data"),
       .scores = result,
       .config = to_yaml(model.config),
       .classes = model.classes,
       .store = &store.schema(),
       .differences = report::scene_differences(store, split, predict,
                                                [&](int64_t done) { progress.update(done); }),
       .samples = report::draw_samples(store, report::choose_patches(store, split), predict)});
}

Tallies score_store(const Args& args, const ModelFile& model) {
  const io::PatchStore store = io::PatchStore::open(args.path("--data"));
  check_store(model, store.schema(), args.text("--data"));
  io::LoaderOptions options = io::LoaderOptions::evaluation(model.config.training.batch);
  io::Loader loader(store, io::parse_split(args.text("--split")), options);
  const std::vector<BandConstants> constants = model.normalisation.constants();
  Predictor predictor(model.params, model.unet, session_options(model.config), model.independent());
  ScoreCounter counter(open_device(model.config.runtime.device), model.unet.classes,
                       model.config.metrics.threshold);
  {
    cli::Progress progress("scoring", loader.batches_per_epoch(), "batches");
    for (int64_t i = 0; i < loader.batches_per_epoch(); ++i) {
      const io::Batch batch = loader.next();
      predictor.count({batch.image, batch.valid, constants}, batch.label,
                      views_of(model.config.inference.tta), counter);
      progress.update(i + 1);
    }
  }
  Tallies tallies = counter.take();
  if (args.has("--report")) write_page(args, model, store, predictor, tallies);
  return tallies;
}

// Copies the part of the label raster that a window covers.
std::vector<uint8_t> labels_in(const Tensor& labels, const io::Window& w) {
  std::vector<uint8_t> part;
  for (int64_t y = w.y; y < w.y + w.height; ++y) {
    const auto row = labels.span<uint8_t>().subspan(static_cast<size_t>(y * labels.shape().w + w.x),
                                                    static_cast<size_t>(w.width));
    part.insert(part.end(), row.begin(), row.end());
  }
  return part;
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

Tallies score_scene(const Args& args, const ModelFile& model) {
  const io::Scene scene = open_scene(args.path("--scene"), model);
  const Tensor labels = io::make_labels(args.path("--labels"), args.path("--scene"), model.scene,
                                        scene.grid(), class_map(args, model));
  std::optional<io::MapWriter> difference;
  if (args.has("--difference")) {
    io::MapOptions options;
    options.classes = {{"agree", io::difference_colors[0]}, {"differ", io::difference_colors[1]}};
    options.overwrite = args.overwrite();
    difference.emplace(args.path("--difference"), scene.grid(), options);
  }
  Confusion confusion(static_cast<int64_t>(model.classes.size()));
  report::DifferenceMap overview(scene.grid().whole());
  SceneMapper mapper(model, Outputs::classes);
  std::optional<cli::Progress> progress;
  mapper.map(
      scene,
      [&](const io::Window& window, const Tensor& found, const Tensor& valid) {
        const auto predicted = found.span<uint8_t>();
        std::vector<uint8_t> truth = labels_in(labels, window);
        Tensor scored = valid.clone(), map(valid.shape(), DType::u8);
        for (size_t i = 0; i < truth.size(); ++i) {
          if (valid.span<uint8_t>()[i] == 0) truth[i] = io::ignore_label;
          if (truth[i] == io::ignore_label) scored.span<uint8_t>()[i] = 0;
          map.span<uint8_t>()[i] = truth[i] == predicted[i] ? 0 : 1;
        }
        confusion.add(truth, predicted);
        if (args.has("--report")) overview.add(window, truth, predicted);
        if (difference) difference->write(window, map, scored);
      },
      [&](int64_t done, int64_t total) {
        if (!progress) progress.emplace("scoring", total, "tiles");
        progress->update(done);
      });
  if (difference) difference->finish();
  Tallies tallies{std::move(confusion), {}};
  if (args.has("--report")) {
    const auto result = to_json(tallies, model.classes);
    report::write_report(args.path("--report"),
                         {.model = args.text("--model"),
                          .data = args.text("--scene") + ", labels " + args.text("--labels"),
                          .scores = result,
                          .config = to_yaml(model.config),
                          .classes = model.classes,
                          .differences = {{args.path("--scene").filename().string(), overview}}});
  }
  return tallies;
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
  const Tallies tallies = store ? score_store(args, model) : score_scene(args, model);
  if (args.json()) {
    std::cout << to_json(tallies, model.classes).dump(1) << '\n';
  } else {
    std::cout << to_table(scores(tallies.confusion), model.classes);
  }
}

}  // namespace

int main(int argc, char** argv) { return cli::run(argc, argv, spec(), eval); }
