// unetd-train: a patch store in, a run folder with checkpoints, metrics and a report out.
#include "engine/base/file.h"
#include "engine/base/threads.h"
#include "engine/device/timing.h"
#include "io/loader.h"
#include "kernels/register.h"
#include "tools/cli.h"
#include "tools/epoch_text.h"
#include "tools/loss_weights.h"
#include "tools/model_file.h"
#include "tools/report/report.h"
#include "tools/run_log.h"
#include "unet/checkpoint.h"
#include "unet/predictor.h"
#include "unet/runtime.h"
#include "unet/schedule.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

namespace {

using namespace unetd;
using cli::Args;

cli::Spec spec() {
  return {
      .program = "unetd-train",
      .summary = "train a UNet on a patch store",
      .description =
          "Trains on the store's train split, scores the valid split after each epoch, and keeps "
          "in the run folder: last.ckpt and the one before it, best.ckpt (highest mean IoU, or "
          "lowest loss, of the valid split), metrics.jsonl, config.yml, TensorBoard's "
          "events.out.tfevents.* with the "
          "scalars of metrics.jsonl, and report.html: curves, scores, confusion matrix, sample "
          "patches, timings, memory and settings on one page that needs no network.\n\n"
          "SIGINT, SIGTERM or SIGUSR1 ends training after the step in progress; --resume goes on "
          "from last.ckpt, with the same bits as a run that was never interrupted. tools/slurm has "
          "job scripts that make use of that.",
      .flags =
          {{.name = "--data", .value = "STORE", .help = "patch store", .required = true},
           {.name = "--out", .value = "FOLDER", .help = "run folder", .required = true},
           cli::key_flag("--preset", "model.preset"),
           {.name = "--resume",
            .help = "go on from the run folder's last checkpoint",
            .kind = cli::Kind::toggle},
           {.name = "--init",
            .value = "MODEL",
            .help = "start from the parameters of a checkpoint, a safetensors file or a state dict "
                    "of PyTorch (.pth), with its width, depth and kind of up-sampling"}},
      .groups = {"model", "training", "loss", "optimizer", "schedule", "augmentation",
                 "normalisation", "data", "metrics", "runtime"},
      .overwrite = true,
      .examples =
          "unetd-train --data store --out run --set training.epochs=20\n"
          "unetd-train --data store --out run --resume\n"};
}

io::LoaderOptions loader_options(const Config& c) {
  io::LoaderOptions options =
      io::LoaderOptions::training(c.training.batch, static_cast<uint64_t>(c.training.seed));
  options.crop = c.training.crop;
  options.shuffle = c.training.shuffle;
  const auto& a = c.augmentation;
  options.augmentation = {.flips = a.flips,
                          .quarter_turns = a.quarter_turns,
                          .erasing = a.erasing,
                          .erased_side = a.erased_side,
                          .band_dropout = a.band_dropout,
                          .brightness = a.brightness,
                          .band_noise = a.band_noise};
  if (!a.enabled) options.augmentation = {};
  options.threads = static_cast<int>(c.data.threads);
  return options;
}

// Pixels that have a class or a target.
int64_t labelled_pixels(const Tensor& label) {
  if (label.dtype() == DType::f32)
    return std::ranges::count_if(label.span<float>(), [](float t) { return !std::isnan(t); });
  return label.count() - std::ranges::count(label.span<uint8_t>(), io::ignore_label);
}

nlohmann::json optional_json(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

// Classes and values have losses of their own.
void check_loss(const Config& config, const io::PatchStore& store) {
  const bool targets = store.schema().target.has_value(), of_values = config.loss.of_values();
  const std::string data = store.path().string();
  if (targets && !of_values)
    throw UsageError(data +
                     " holds targets, not classes: set loss.type to mse, l1, mass or a sum of "
                     "them, or take the preset elaouni");
  if (!targets && of_values)
    throw UsageError(str("loss.type is one of values, but ", data,
                         " holds classes: set it to cross_entropy or bce, or tile with --target"));
  if (of_values && config.training.best_by == Config::Judge::mean_iou)
    throw UsageError("values have no mean IoU: set training.best_by to loss");
}

// One run: what the loop needs, and what a checkpoint says beside the trainer's state.
class Run {
 public:
  Run(const Args& args, const Config& config, const io::PatchStore& store)
      : config_(config),
        folder_(args.path("--out")),
        store_(store),
        schema_(store.schema()),
        normalisation_(io::Normalisation::fit(config.normalisation.method, schema_.dtype,
                                              schema_.bands, schema_.statistics,
                                              config.normalisation.constants)),
        constants_(normalisation_.constants()),
        model_(unet_config(config, static_cast<int64_t>(schema_.bands.size()),
                           static_cast<int64_t>(schema_.classes.size()))),
        target_scale_(target_scale(config, schema_)),
        training_(store, io::Split::train, loader_options(config)),
        steps_(config.training.steps > 0 ? config.training.steps
                                         : config.training.epochs * steps_per_epoch()),
        trainer_(config, model_, batch_shape(), {steps_, f32_steps()},
                 loss_weights(config.loss, schema_, model_.classes), schema_.dtype, target_scale_),
        log_(folder_, schema_.classes) {
    if (!store.indices(io::Split::valid).empty()) {
      io::LoaderOptions options = io::LoaderOptions::evaluation(config.training.batch);
      options.threads = static_cast<int>(config.data.threads);
      // A part of the split must not be one end of the scene.
      options.shuffle = config.training.valid_batches > 0;
      validation_.emplace(store, io::Split::valid, options);
    }
  }

  // From scratch, or from the parameters of another model.
  void begin(const std::filesystem::path& model) {
    log_.begin();
    if (model.empty()) return;
    Checkpoint(model).load(trainer_.params());
    trainer_.restart_average();
  }

  void resume() {
    const Checkpoint checkpoint(folder_ / "last.ckpt");
    checkpoint.restore(trainer_);
    const auto state = nlohmann::json::parse(checkpoint.get("run"));
    training_.restore({state["epoch"], state["position"]});
    if (!state["best"].is_null()) best_ = state["best"].get<double>();
    waited_ = state["waited"];
    const auto& plateau = state["plateau"];
    if (!plateau["best"].is_null()) plateau_.best = plateau["best"].get<double>();
    plateau_.waited = plateau["waited"];
    plateau_.factor = plateau["factor"];
    trainer_.set_rate_factor(plateau_.factor);
    elapsed_before_ = state["seconds"];
    if (state.contains("epoch_loss"))  // checkpoints of version 0.1.0 have none
      epoch_loss_ = {state["epoch_loss"]["sum"], state["epoch_loss"]["steps"]};
    first_step_ = trainer_.step();
    log_.resume(first_step_);
    log_info("going on from step ", trainer_.step(), " of ", steps_);
  }

  void loop() {
    write_file(folder_ / "config.yml", to_yaml(config_));
    log_info(trainer_.params().trained_count(), " parameters, ", steps_, " steps of ",
             config_.training.batch, " patches, memory ", trainer_.session().memory().arena >> 20,
             " MiB");
    const auto& t = config_.training;
    const int64_t eval_every = t.eval_every > 0 ? t.eval_every : steps_per_epoch();
    cli::Progress progress("training", steps_, "steps");
    while (trainer_.step() < steps_ && !finished()) {
      const StepResult result = train_step();
      const int64_t step = trainer_.step();
      if (step % t.log_every == 0) log_.train(step, result);
      if (!result.skipped) epoch_loss_.add(result.loss);
      const std::string reached = status(result);
      progress.update(step, reached);
      const bool evaluated = validation_ && (step % eval_every == 0 || step == steps_);
      if (evaluated) evaluate(progress, reached);
      if (t.save_every > 0 ? step % t.save_every == 0 : step % eval_every == 0) save("last", true);
    }
    save("last", true);
  }

  // Ends the run: the report, and the best scores on stdout.
  void report() const {
    const io::Split shown = validation_ ? io::Split::valid : io::Split::train;
    const bool best = best_.has_value();  // there is a best.ckpt: the page's scores are of that
    report::write_report(
        folder_ / "report.html",
        {.metrics = log_.text(),
         .config = to_yaml(config_),
         .judge = config_.training.best_by,
         .data = schema_,
         .model = model_,
         .nodes = trainer_.session().report(),
         .profiled_steps = trainer_.session().profiled_runs() / config_.training.accumulate,
         .stages = stages_,
         .memory = {trainer_.session().memory(), trainer_.params().trained_count(),
                    report::process_peak()},
         .seconds = seconds(),
         .samples_title = str("Sample patches of the ", io::split_names[static_cast<size_t>(shown)],
                              " split, ", best ? "best" : "last", " network"),
         .samples = samples(shown, best ? stored_params("best") : trainer_.inference_params())});
    std::cout << "step " << trainer_.step() << " of " << steps_;
    if (best) std::cout << ", best " << judged_name() << " of the valid split " << *best_;
    std::cout << '\n';
  }

 private:
  // Every so many steps one is timed node by node; not the first ones, in which memory is touched
  // for the first time.
  StepResult train_step() {
    constexpr int64_t profile_every = 16, warm_up = 2;
    const bool profiled = trainer_.step() % profile_every == warm_up;
    trainer_.session().set_profiling(profiled);
    io::Batch batch = first_batch();
    for (int64_t i = 1; i < config_.training.accumulate; ++i) {
      stages_.steps += seconds_of(
          [&] { trainer_.accumulate(images_of(batch), batch.label, [this] { look_ahead(); }); });
      batch = next_batch();
    }
    StepResult result;
    stages_.steps += seconds_of([&] { result = end_step(batch); });
    return result;
  }
  // Between two steps nothing is half done: what was reached is saved if the data cannot be read.
  io::Batch first_batch() {
    try {
      return next_batch();
    } catch (const Error&) {
      save("last", true);
      throw;
    }
  }
  io::Batch next_batch() {
    if (ahead_) return *std::exchange(ahead_, std::nullopt);
    io::Batch batch;
    stages_.waiting += seconds_of([&] { batch = training_.next(); });
    return batch;
  }
  // While the device is at work: what next_batch() gives next, brought to the device. An error is
  // left to next_batch(), which meets it again.
  void look_ahead() {
    try {
      const double waited = seconds_of([&] { ahead_ = training_.next(); });
      stages_.waiting += waited;
      stages_.steps -= waited;  // in which this time will be counted
      trainer_.bring_ahead(images_of(*ahead_), ahead_->label);
    } catch (const Error&) {
      return;
    }
  }
  // A step that cannot go on has changed nothing: what was reached is saved.
  StepResult end_step(const io::Batch& batch) {
    try {
      const bool last = trainer_.step() + 1 == steps_;
      return trainer_.train(images_of(batch), batch.label, [&] {
        if (!last) look_ahead();
      });
    } catch (const Error&) {
      save("last", true);
      throw;
    }
  }

  Images images_of(const io::Batch& batch) const {
    return {batch.image, batch.valid, constants_, &batch.draws};
  }

  Params stored_params(const std::string& name) const {
    Params params = unet_params(model_, open_device(config_.runtime.device));
    Checkpoint(folder_ / (name + ".ckpt")).load(params);
    return params;
  }

  std::vector<report::Sample> samples(io::Split split, const Params& params) const {
    Predictor predictor(params, model_, session_options(config_));
    return report::draw_samples(store_, report::choose_patches(store_, split),
                                [&](const io::Raster& patch) {
                                  const Images images(patch.image, patch.valid, constants_);
                                  if (!schema_.target) return predictor.classes(images, 1);
                                  Tensor values = predictor.values(images, 1);
                                  bring_to_unit(values.span<float>(), target_scale_);
                                  return values;
                                });
  }

  int64_t steps_per_epoch() const {
    const int64_t all = training_.batches_per_epoch() / config_.training.accumulate;
    const int64_t most = config_.training.steps_per_epoch;
    return std::max<int64_t>(1, most > 0 ? std::min(most, all) : all);
  }
  int64_t f32_steps() const {
    if (config_.runtime.precision == Config::Precision::f32) return 0;
    return (config_.runtime.precision_from - 1) * steps_per_epoch();
  }

  // "loss 0.123, rate 1e-03, 45.6 patches/s, 789 MiB", for the progress.
  std::string status(const StepResult& result) const {
    const int64_t patches =
        (trainer_.step() - first_step_) * config_.training.accumulate * config_.training.batch;
    const double seconds = stages_.steps + stages_.waiting;
    char text[120];
    std::snprintf(text, sizeof text, "loss %.4g, learning rate %.3g, %.1f patches/s, %zu MiB",
                  result.loss, result.learning_rate, static_cast<double>(patches) / seconds,
                  report::process_peak() >> 20);
    return text;
  }

  Shape batch_shape() const {
    const int64_t side = config_.training.crop > 0 ? config_.training.crop : schema_.patch;
    return {config_.training.batch, side, side, model_.in_channels};
  }

  double seconds() const {
    return elapsed_before_ +
           std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  bool finished() const {
    const auto& t = config_.training;
    return cli::interrupted() || (t.minutes > 0 && seconds() > 60 * t.minutes) ||
           (t.patience > 0 && waited_ >= t.patience);
  }
  const char* judged_name() const {
    return config_.training.best_by == Config::Judge::loss ? "loss" : "mean IoU";
  }

  // Mean loss over the labelled pixels of the valid split, which the trainer counts.
  double score_validation() {
    double loss = 0, pixels = 0;
    validation_->restore({});
    const int64_t all = validation_->batches_per_epoch(), most = config_.training.valid_batches;
    for (int64_t i = 0; i < (most > 0 ? std::min(most, all) : all); ++i) {
      const io::Batch batch = validation_->next();
      const auto valid = static_cast<double>(labelled_pixels(batch.label));
      loss += valid * trainer_.evaluate(images_of(batch), batch.label);
      pixels += valid;
    }
    return loss / std::max(pixels, 1.0);
  }

  void evaluate(cli::Progress& progress, const std::string& reached) {
    double loss = 0;
    stages_.validation += seconds_of([&] { loss = score_validation(); });
    const Counts counts =
        config_.loss.of_values() ? Counts(trainer_.take_errors()) : Counts(trainer_.take_tallies());
    const auto [name, reading] = headline(counts);
    const std::optional<double> train_loss = std::exchange(epoch_loss_, {}).mean();
    log_.valid(trainer_.step(), {train_loss, loss}, counts);
    progress.update(trainer_.step(), str(reached, ", valid ", name, " ", reading));
    const Config::Judge by = config_.training.best_by;
    const double score = by == Config::Judge::loss ? loss : reading;
    follow_plateau(score);
    // What is not finite is no best, here as after a resumption: a checkpoint has null for it.
    const bool improved = !best_ || !std::isfinite(*best_) || better(by, score, *best_);
    waited_ = improved ? 0 : waited_ + 1;
    const double epochs =
        static_cast<double>(trainer_.step()) / static_cast<double>(steps_per_epoch());
    log_info(epoch_text({epochs, train_loss, loss, waited_, config_.training.patience}, counts,
                        schema_.classes));
    if (!improved) {
      if (config_.training.patience > 0 && waited_ >= config_.training.patience)
        log_info("no better ", judged_name(), " in ", waited_,
                 " evaluations: training ends at step ", trainer_.step(),
                 "; best.ckpt holds the best network");
      return;
    }
    best_ = score;
    save("best", false);
  }
  void follow_plateau(double score) {
    if (config_.schedule.type != Config::Schedule::plateau) return;
    const double before = plateau_.factor;
    plateau_.judge(config_, score);
    trainer_.set_rate_factor(plateau_.factor);
    if (plateau_.factor != before)
      log_info("step ", trainer_.step(), ": learning rate lowered to ",
               config_.optimizer.lr * plateau_.factor);
  }

  void save(const std::string& name, bool keep_previous) {
    Metadata metadata = describe_data(schema_, normalisation_, target_scale_);
    metadata["config"] = to_yaml(config_);
    const io::LoaderState state =
        ahead_ ? io::LoaderState{ahead_->epoch, ahead_->position} : training_.state();
    metadata["run"] = nlohmann::json{
        {"epoch", state.epoch},
        {"position", state.position},
        {"best", optional_json(best_)},
        {"waited", waited_},
        {"epoch_loss", {{"sum", epoch_loss_.sum}, {"steps", epoch_loss_.steps}}},
        {"plateau",
         {{"best", optional_json(plateau_.best)},
          {"waited", plateau_.waited},
          {"factor", plateau_.factor}}},
        {"seconds",
         seconds()}}.dump();
    stages_.checkpoints += seconds_of(
        [&] { save_checkpoint(folder_ / (name + ".ckpt"), trainer_, metadata, keep_previous); });
  }

  Config config_;
  std::filesystem::path folder_;
  const io::PatchStore& store_;
  const io::StoreSchema& schema_;
  io::Normalisation normalisation_;
  std::vector<BandConstants> constants_;
  UNetConfig model_;
  TargetScale target_scale_;
  io::Loader training_;
  std::optional<io::Batch> ahead_;  // its next batch, where that was looked at already
  std::optional<io::Loader> validation_;
  int64_t steps_;
  Trainer trainer_;
  RunLog log_;
  report::StageTimes stages_;  // of this process
  int64_t first_step_ = 0;     // of this process
  std::optional<double> best_;
  int64_t waited_ = 0;  // evaluations since the best
  struct MeanLoss {     // of the steps since the last evaluation
    double sum = 0;
    int64_t steps = 0;
    void add(double loss) { sum += loss, ++steps; }
    std::optional<double> mean() const {
      return steps > 0 ? std::optional(sum / static_cast<double>(steps)) : std::nullopt;
    }
  } epoch_loss_;
  Plateau plateau_;
  double elapsed_before_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The network of a file, as settings; bands and classes are the data's.
Config config_of(const UNetConfig& network) {
  Config config;
  config.model = network.settings();
  config.model.in_channels = config.model.classes = 0;
  return config;
}

// What --resume goes on with is the stored configuration, what --init begins with has the network
// of the file; settings of this command line come on top.
Config run_config(const Args& args, const std::filesystem::path& last) {
  if (!args.has("--resume")) {
    const std::filesystem::path init = args.path("--init");
    return init.empty() ? args.config() : args.config(config_of(Checkpoint(init).model()));
  }
  Config stored;
  stored.schedule.cycle_momentum = false;  // so were runs trained that do not tell
  apply_yaml(stored, Checkpoint(last).get("config"), last.string());
  return args.config(stored);
}

void train(const Args& args) {
  const std::filesystem::path folder = args.path("--out"), last = folder / "last.ckpt";
  const bool exists = std::filesystem::exists(last);
  if (exists && !args.has("--resume") && !args.overwrite()) {
    throw UserError(str(folder.string(), ": holds a run; go on with --resume, or --overwrite it"));
  }
  if (!exists && args.has("--resume")) {
    throw UserError(str(last.string(), ": there is no checkpoint to resume from"));
  }
  const Config config = run_config(args, last);
  if (config.runtime.threads > 0) set_thread_count(static_cast<int>(config.runtime.threads));
  register_kernels();
  const io::PatchStore store = io::PatchStore::open(args.path("--data"));
  check_loss(config, store);
  cli::interrupted();  // from here on a signal ends the loop, not the program
  Run run(args, config, store);
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw UserError(str("cannot create ", folder.string(), ": ", failed.message()));
  if (args.has("--resume")) {
    run.resume();
  } else {
    run.begin(args.path("--init"));
  }
  run.loop();
  run.report();
}

}  // namespace

int main(int argc, char** argv) { return cli::run(argc, argv, spec(), train); }
