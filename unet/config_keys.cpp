#include "unet/config_keys.h"

#include "engine/base/error.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <sstream>
#include <utility>

namespace unetd {
namespace {

struct Range {
  double low, high;
  bool low_open = false, high_open = false;

  bool contains(double v) const {
    return (low_open ? v > low : v >= low) && (high_open ? v < high : v <= high);
  }
};

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr Range any_from(double low) { return {low, infinity, false, true}; }
constexpr Range above(double low) { return {low, infinity, true, true}; }
constexpr Range fraction{0, 1};
constexpr Range below_one{0, 1, false, true};
constexpr Range loss_factors{0, 1000, true};  // written without an exponent, whose sign is no sum's

template <class T>
std::string number_text(T value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, end};
}

template <class T>
bool parse_number(const std::string& text, T& value) {
  const char* const end = text.data() + text.size();
  T parsed{};
  const auto [stop, error] = std::from_chars(text.data(), end, parsed);
  if (error != std::errc() || stop != end) return false;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(parsed)) return false;
  }
  value = parsed;
  return true;
}

std::string range_text(const char* kind, const Range& r) {
  if (r.high == infinity) return str(kind, r.low_open ? " > " : " >= ", number_text(r.low));
  return str(kind, " in ", r.low_open ? "(" : "[", number_text(r.low), ", ", number_text(r.high),
             r.high_open ? ")" : "]");
}

// The makers of rows. `access` is a generic lambda from a Config (const or not) to the member.
template <class Access>
Key number(const char* name, Access access, Range range, const char* help) {
  using T = std::remove_cvref_t<decltype(access(std::declval<Config&>()))>;
  const char* kind = std::is_integral_v<T> ? "integer" : "number";
  return {{name, range_text(kind, range), "", help},
          [=](Config& c, const std::string& text) {
            T value{};
            if (!parse_number(text, value) || !range.contains(static_cast<double>(value))) {
              return false;
            }
            access(c) = value;
            return true;
          },
          [=](const Config& c) { return number_text(access(c)); }};
}

template <class Access>
Key boolean(const char* name, Access access, const char* help) {
  return {{name, "true|false", "", help},
          [=](Config& c, const std::string& text) {
            if (text != "true" && text != "false") return false;
            access(c) = text == "true";
            return true;
          },
          [=](const Config& c) { return std::string(access(c) ? "true" : "false"); }};
}

template <class Access>
Key word(const char* name, Access access, const char* type, const char* help) {
  return {{name, type, "", help},
          [=](Config& c, const std::string& text) {
            access(c) = text;
            return true;
          },
          [=](const Config& c) { return access(c); }};
}

// An enum or bool whose values are 0, 1, ... in the order of `words`.
template <class Access>
Key choice(const char* name, Access access, const std::vector<std::string>& words,
           const char* help) {
  using E = std::remove_cvref_t<decltype(access(std::declval<Config&>()))>;
  return {{name, join(words, "|"), "", help},
          [=](Config& c, const std::string& text) {
            const auto found = std::find(words.begin(), words.end(), text);
            if (found == words.end()) return false;
            access(c) = static_cast<E>(found - words.begin());
            return true;
          },
          [=](const Config& c) { return words[static_cast<size_t>(access(c))]; }};
}

// "[1, 2.5]", "1,2.5" -> the numbers, each at least 0.
bool parse_list(std::string text, std::vector<double>& values) {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') {
    text = text.substr(1, text.size() - 2);
  }
  values.clear();
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ',');) {
    item.erase(std::remove(item.begin(), item.end(), ' '), item.end());
    double value = 0;
    if (!parse_number(item, value) || value < 0) return false;
    values.push_back(value);
  }
  return !values.empty();
}

// One of the first words of Config::Weighting, or a list with a number for each class.
template <class Access>
Key weights(const char* name, Access access, const std::vector<std::string>& words,
            const char* help) {
  return {{name, join(words, "|") + "|list of numbers >= 0", "", help},
          [=](Config& c, const std::string& text) {
            const auto found = std::find(words.begin(), words.end(), text);
            Config::Weights parsed;
            if (found != words.end()) {
              parsed.kind = static_cast<Config::Weighting>(found - words.begin());
            } else if (parse_list(text, parsed.values)) {
              parsed.kind = Config::Weighting::list;
            } else {
              return false;
            }
            access(c) = parsed;
            return true;
          },
          [=](const Config& c) {
            const Config::Weights& w = access(c);
            if (w.kind != Config::Weighting::list) return words[static_cast<size_t>(w.kind)];
            std::vector<std::string> numbers;
            for (const double v : w.values) numbers.push_back(number_text(v));
            return "[" + join(numbers, ", ") + "]";
          }};
}

constexpr std::string_view loss_names[] = {"cross_entropy", "bce", "dice", "tversky",
                                           "mse",           "l1",  "mass"};

// "0.5 dice" or "dice"
bool parse_loss_term(const std::string& text, Config::LossTerm& term) {
  std::istringstream in(text);
  const std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
  if (words.empty() || words.size() > 2) return false;
  const auto* const name = std::ranges::find(loss_names, words.back());
  if (name == std::end(loss_names)) return false;
  term.type = static_cast<Config::LossType>(name - loss_names);
  return words.size() == 1 ||
         (parse_number(words.front(), term.factor) && loss_factors.contains(term.factor));
}

// Outputs are a softmax, sigmoids or values: the terms of a sum must agree on one of these.
bool agree(const Config::Loss& loss) {
  using Type = Config::LossType;
  const bool overlap = loss.has(Type::dice) || loss.has(Type::tversky);
  const bool classes = loss.has(Type::cross_entropy) || overlap, sigmoids = loss.has(Type::bce);
  return !(loss.has(Type::cross_entropy) && sigmoids) &&
         !(loss.of_values() && (classes || sigmoids));
}

// "cross_entropy + 0.5 dice" -> the terms, each kind once.
bool parse_loss(const std::string& text, Config::Loss& loss) {
  loss.terms.clear();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('+', begin), text.size());
    Config::LossTerm term;
    if (!parse_loss_term(text.substr(begin, end - begin), term) || loss.has(term.type))
      return false;
    loss.terms.push_back(term);
    begin = end + 1;
  }
  return agree(loss);
}

Key loss_sum(const char* name, const char* help) {
  return {{name,
           "sum of cross_entropy or bce, dice and tversky, or of mse, l1 and mass, such as "
           "cross_entropy + 0.5 dice",
           "", help},
          [](Config& c, const std::string& text) {
            Config::Loss parsed = c.loss;
            if (!parse_loss(text, parsed)) return false;
            c.loss = parsed;
            return true;
          },
          [](const Config& c) {
            std::vector<std::string> terms;
            for (const Config::LossTerm& t : c.loss.terms) {
              const std::string_view term = loss_names[static_cast<size_t>(t.type)];
              terms.push_back(t.factor == 1 ? std::string(term)
                                            : str(number_text(t.factor), " ", term));
            }
            return join(terms, " + ");
          }};
}

#define UNETD_MEMBER(path) ([](auto& c) -> auto& { return c.path; })

std::vector<Key> model_keys() {
  std::vector<std::string> names;
  for (const auto& [name, text] : presets()) names.push_back(name);
  Key preset = word("model.preset", UNETD_MEMBER(model.preset), "",
                    "settings to start from; every key of a preset can be overridden");
  preset.description.type = join(names, "|");
  preset.set = [](Config& c, const std::string& text) {
    if (!presets().contains(text)) return false;
    c.model.preset = text;
    return true;
  };
  return {preset,
          number("model.in_channels", UNETD_MEMBER(model.in_channels), any_from(0),
                 "bands of the input; 0: as the data has"),
          number("model.classes", UNETD_MEMBER(model.classes), any_from(0),
                 "channels of the output; 0: as the data has"),
          number("model.width", UNETD_MEMBER(model.width), Range{1, 1024},
                 "channels of the first level; each level down doubles them"),
          number("model.depth", UNETD_MEMBER(model.depth), Range{1, 8},
                 "how often the image is halved on the way down"),
          choice("model.upsample", UNETD_MEMBER(model.upsample), {"transposed", "bilinear"},
                 "how the way up doubles the image: a learnt 2x2 convolution or interpolation"),
          boolean("model.conv_bias", UNETD_MEMBER(model.conv_bias),
                  "bias in the 3x3 convolutions (batch norm makes it redundant)"),
          choice("model.padding", UNETD_MEMBER(model.valid), {"same", "valid"},
                 "of the 3x3 convolutions; valid: none, so the map is smaller than the image, skip "
                 "connections are cropped, scenes mirrored at their borders"),
          choice("model.norm", UNETD_MEMBER(model.norm), {"none", "batch"},
                 "what follows each 3x3 convolution before its ReLU"),
          choice("model.block", UNETD_MEMBER(model.single), {"double", "single"},
                 "convolutions of a level on the way down and on the way up"),
          choice("model.fit", UNETD_MEMBER(model.resize), {"pad", "resize"},
                 "how the doubled image becomes as large as a level of odd size"),
          choice("model.down", UNETD_MEMBER(model.strided), {"maxpool", "strided"},
                 "how the way down halves the image; strided: by the next level's first "
                 "convolution"),
          boolean("model.skips", UNETD_MEMBER(model.skips),
                  "join each level up with the level down; false: an encoder and decoder alone, "
                  "without blocks at full size"),
          number("model.dropout", UNETD_MEMBER(model.dropout), below_one,
                 "share of the deepest level's output that is set to 0 in training"),
          choice("model.init", UNETD_MEMBER(model.he_init), {"pytorch", "he"},
                 "start of the filters: uniform as PyTorch's layers, or normal with a variance of "
                 "2 over the inputs"),
          choice("model.names", UNETD_MEMBER(model.names), {"milesial", "aladdinpersson"},
                 "whose names the parameters have in files"),
          number("model.bn_eps", UNETD_MEMBER(model.bn_eps), above(0),
                 "added to the variance in batch norm"),
          number("model.bn_momentum", UNETD_MEMBER(model.bn_momentum), fraction,
                 "share of the new batch in batch norm's running statistics")};
}

std::vector<Key> training_keys() {
  return {number("training.seed", UNETD_MEMBER(training.seed), any_from(0),
                 "seed of initialisation, shuffling and augmentation"),
          number("training.steps", UNETD_MEMBER(training.steps), any_from(0),
                 "optimiser steps; 0: as many as training.epochs gives"),
          number("training.epochs", UNETD_MEMBER(training.epochs), any_from(1),
                 "passes over the training patches"),
          number("training.minutes", UNETD_MEMBER(training.minutes), any_from(0),
                 "stop after the step that passes this wall time; 0: no limit"),
          number("training.batch", UNETD_MEMBER(training.batch), any_from(1), "patches per step"),
          number("training.crop", UNETD_MEMBER(training.crop), any_from(0),
                 "side of the random crop taken from each patch, in pixels; 0: the whole patch"),
          boolean("training.shuffle", UNETD_MEMBER(training.shuffle),
                  "a new order of the patches in each epoch"),
          number("training.log_every", UNETD_MEMBER(training.log_every), any_from(1),
                 "steps between lines of metrics.jsonl"),
          number("training.steps_per_epoch", UNETD_MEMBER(training.steps_per_epoch), any_from(0),
                 "steps after which an epoch counts as over, if there are as many; the next goes "
                 "on with the patches that are left; 0: all patches"),
          number("training.valid_batches", UNETD_MEMBER(training.valid_batches), any_from(0),
                 "batches that an evaluation takes, drawn once from all of the valid split; 0: "
                 "all of it"),
          number("training.eval_every", UNETD_MEMBER(training.eval_every), any_from(0),
                 "steps between evaluations; 0: after each epoch"),
          number("training.save_every", UNETD_MEMBER(training.save_every), any_from(0),
                 "steps between checkpoints; 0: at each evaluation"),
          number("training.ema_decay", UNETD_MEMBER(training.ema_decay), below_one,
                 "decay of the moving average of the weights that is evaluated and saved; 0: off"),
          number("training.accumulate", UNETD_MEMBER(training.accumulate), any_from(1),
                 "batches whose mean gradient makes one optimiser step"),
          choice("training.best_by", UNETD_MEMBER(training.best_by), {"mean_iou", "loss"},
                 "score of the valid split that chooses best.ckpt, ends training early and lowers "
                 "the learning rate of schedule.type plateau"),
          number("training.patience", UNETD_MEMBER(training.patience), any_from(0),
                 "evaluations without a better score after which training ends; 0: never"),
          choice("training.on_nan", UNETD_MEMBER(training.on_nan), {"stop", "skip"},
                 "what a step whose loss or gradient is not finite does after its batch is given "
                 "up: end the run with last.ckpt saved, or go on; the node where it began is "
                 "named")};
}

std::vector<Key> optimisation_keys() {
  return {
      loss_sum(
          "loss.type",
          "softmax cross entropy, or bce, which is a sigmoid per class; dice and tversky measure "
          "the overlap with the labels in the whole batch, alone or in a sum, each term with a "
          "factor of up to 1000 before it. On targets instead of classes: mse and l1, mean squared "
          "and absolute errors, and mass, the mean over images of the squared mean error, which "
          "keeps an image's total"),
      weights("loss.class_weights", UNETD_MEMBER(loss.class_weights),
              {"none", "inverse", "inverse_sqrt", "effective_number"},
              "weight of each class in cross_entropy; inverse: one over its share of the pixels; "
              "effective_number: (1 - beta) / (1 - beta^n) for n thousand pixels"),
      weights("loss.pos_weight", UNETD_MEMBER(loss.pos_weight), {"none", "inverse", "inverse_sqrt"},
              "weight of each class's positive pixels in bce; inverse: negative ones over positive "
              "ones"),
      weights("loss.overlap_weights", UNETD_MEMBER(loss.overlap_weights),
              {"none", "inverse", "inverse_sqrt", "effective_number"},
              "weight of each class in dice and tversky, which by themselves treat rare and common "
              "ones alike"),
      number("loss.tversky_alpha", UNETD_MEMBER(loss.tversky_alpha), any_from(0),
             "weight of false positives in tversky; dice is tversky with 0.5 and 0.5"),
      number("loss.tversky_beta", UNETD_MEMBER(loss.tversky_beta), above(0),
             "weight of false negatives in tversky"),
      number("loss.focal_gamma", UNETD_MEMBER(loss.focal_gamma), any_from(0),
             "above 0, cross_entropy and bce become focal losses, which attend to what is wrong "
             "still; 2 is usual"),
      number("loss.label_smoothing", UNETD_MEMBER(loss.label_smoothing), below_one,
             "cross_entropy: share of each target that all classes have evenly (PyTorch's "
             "label_smoothing)"),
      number("loss.effective_beta", UNETD_MEMBER(loss.effective_beta), below_one,
             "of effective_number: how slowly further pixels of a class count less"),
      number("loss.smooth", UNETD_MEMBER(loss.smooth), any_from(0),
             "pixels that dice and tversky add to both sides of their fraction"),
      choice("optimizer.type", UNETD_MEMBER(optimizer.type), {"adamw", "adam", "sgd", "rmsprop"},
             "as PyTorch defines them; adamw decays the weights beside the gradient, the others "
             "within it"),
      number("optimizer.lr", UNETD_MEMBER(optimizer.lr), any_from(0), "learning rate"),
      number("optimizer.beta1", UNETD_MEMBER(optimizer.beta1), below_one,
             "decay of the mean of the gradients"),
      number("optimizer.beta2", UNETD_MEMBER(optimizer.beta2), below_one,
             "decay of the mean of their squares"),
      number("optimizer.eps", UNETD_MEMBER(optimizer.eps), above(0),
             "added to the root of the mean square"),
      number("optimizer.weight_decay", UNETD_MEMBER(optimizer.weight_decay), any_from(0),
             "share of the weights that is taken away, times the learning rate"),
      boolean("optimizer.amsgrad", UNETD_MEMBER(optimizer.amsgrad),
              "adamw and adam: divide by the largest mean square so far"),
      number("optimizer.momentum", UNETD_MEMBER(optimizer.momentum), below_one,
             "sgd and rmsprop: share of the last step that the next one keeps"),
      boolean("optimizer.nesterov", UNETD_MEMBER(optimizer.nesterov),
              "sgd: look ahead along the momentum"),
      number("optimizer.alpha", UNETD_MEMBER(optimizer.alpha), below_one,
             "rmsprop: decay of the mean of the squared gradients"),
      boolean("optimizer.decay_norm_and_bias", UNETD_MEMBER(optimizer.decay_norm_and_bias),
              "decay the parameters of batch norm and the biases, too"),
      number("optimizer.clip_norm", UNETD_MEMBER(optimizer.clip_norm), any_from(0),
             "largest norm of the whole gradient; 0: no clipping"),
      choice("schedule.type", UNETD_MEMBER(schedule.type),
             {"constant", "cosine", "linear", "step", "polynomial", "one_cycle", "plateau"},
             "course of the learning rate after the warm-up; plateau lowers it when the score of "
             "the valid split stops improving"),
      number("schedule.warmup_steps", UNETD_MEMBER(schedule.warmup_steps), any_from(0),
             "steps in which the learning rate rises from 0"),
      number("schedule.final_lr_ratio", UNETD_MEMBER(schedule.final_lr_ratio), fraction,
             "cosine and linear: learning rate at the end, as a share of optimizer.lr"),
      number("schedule.step_every", UNETD_MEMBER(schedule.step_every), any_from(1),
             "step: steps after which the learning rate falls"),
      number("schedule.factor", UNETD_MEMBER(schedule.factor), below_one,
             "step and plateau: what the learning rate is multiplied by"),
      number("schedule.power", UNETD_MEMBER(schedule.power), above(0),
             "polynomial: power of the share of steps that are left"),
      number("schedule.rise", UNETD_MEMBER(schedule.rise), Range{0, 1, true, true},
             "one_cycle: share of the steps in which the learning rate rises to optimizer.lr"),
      number("schedule.div_factor", UNETD_MEMBER(schedule.div_factor), any_from(1),
             "one_cycle: optimizer.lr over the first learning rate"),
      number("schedule.final_div_factor", UNETD_MEMBER(schedule.final_div_factor), any_from(1),
             "one_cycle: the first learning rate over the last"),
      boolean(
          "schedule.cycle_momentum", UNETD_MEMBER(schedule.cycle_momentum),
          "one_cycle: let momentum (beta1 of adamw and adam) fall while the learning rate rises "
          "and rise again while it falls, as PyTorch does; false: keep it as it is"),
      number("schedule.low_momentum", UNETD_MEMBER(schedule.low_momentum), below_one,
             "one_cycle: momentum at the highest learning rate"),
      number("schedule.high_momentum", UNETD_MEMBER(schedule.high_momentum), below_one,
             "one_cycle: momentum at both ends"),
      number("schedule.patience", UNETD_MEMBER(schedule.patience), any_from(0),
             "plateau: evaluations without a better score before the learning rate falls")};
}

std::vector<Key> data_keys() {
  return {
      boolean("augmentation.enabled", UNETD_MEMBER(augmentation.enabled),
              "augment the training patches at all"),
      boolean("augmentation.flips", UNETD_MEMBER(augmentation.flips), "random mirror images"),
      boolean("augmentation.quarter_turns", UNETD_MEMBER(augmentation.quarter_turns),
              "random turns by 90 degrees"),
      number("augmentation.erasing", UNETD_MEMBER(augmentation.erasing), fraction,
             "share of the patches of which a random rectangle is erased: its image is 0, its "
             "labels are ignored"),
      number("augmentation.erased_side", UNETD_MEMBER(augmentation.erased_side), fraction,
             "longest side of that rectangle, as a share of the patch's"),
      number("augmentation.band_dropout", UNETD_MEMBER(augmentation.band_dropout), fraction,
             "share of a patch's bands that are set to 0"),
      number("augmentation.brightness", UNETD_MEMBER(augmentation.brightness), any_from(0),
             "most that all bands of a patch are shifted by together, after normalisation"),
      number("augmentation.band_noise", UNETD_MEMBER(augmentation.band_noise), any_from(0),
             "most that each band of a patch is shifted by on its own, after normalisation"),
      choice("normalisation.method", UNETD_MEMBER(normalisation.method),
             {normalisation_methods.begin(), normalisation_methods.end()},
             "how raw values become the network's input; the constants come from the patch store"),
      choice(
          "normalisation.constants", UNETD_MEMBER(normalisation.constants),
          {normalisation_constants.begin(), normalisation_constants.end()},
          "of dynamic_world: percentiles of the patch store, or fixed ones of Sentinel-2's level "
          "1C, the same for every scene; bands that have none are then normalised by zscore"),
      choice("normalisation.target", UNETD_MEMBER(normalisation.target), {"zscore", "none"},
             "how a store's targets become what the network learns; maps and scores are in the "
             "targets' unit either way"),
      number("data.threads", UNETD_MEMBER(data.threads), Range{1, 256},
             "background threads that read and crop patches")};
}

std::vector<Key> inference_keys() {
  return {
      number("metrics.threshold", UNETD_MEMBER(metrics.threshold), below_one,
             "probability above which a class is also scored by itself, beside the most probable "
             "class"),
      number("inference.tile", UNETD_MEMBER(inference.tile), Range{16, 16384},
             "side of a tile, in pixels"),
      choice(
          "inference.stitch", UNETD_MEMBER(inference.stitch), {"exact", "blend"},
          "exact: tiles carry enough margin to equal one pass over the scene; blend: overlapping "
          "tiles are averaged under a window"),
      choice("inference.window", UNETD_MEMBER(inference.window), {"hann", "triangular", "gaussian"},
             "weight of a pixel in its tile, for blend"),
      number("inference.overlap", UNETD_MEMBER(inference.overlap), Range{0, 0.9},
             "share of a tile that its neighbour covers, too, for blend"),
      choice("inference.tta", UNETD_MEMBER(inference.tta), {"none", "flips", "d4"},
             "test-time augmentation: mean over 1, 4 or 8 orientations"),
      choice("inference.emit", UNETD_MEMBER(inference.emit),
             {"classes", "probabilities", "logits", "values"},
             "what the map holds; values: of a network that was trained on targets, in their "
             "unit"),
      word("runtime.device", UNETD_MEMBER(runtime.device), "auto|cpu|cuda[:N]|simt",
           "where to compute; simt runs the CUDA kernels on the CPU, for tests"),
      number("runtime.threads", UNETD_MEMBER(runtime.threads), Range{0, 4096},
             "threads of the computation; 0: as many as there are cores"),
      word("runtime.kernels", UNETD_MEMBER(runtime.kernels), "list of op=implementation",
           "implementations to force, such as conv2d=eigen,maxpool2x2=ref; conv2d=-eigen takes any "
           "but that, batch_norm_apply_pool=none leaves out a fusion"),
      choice(
          "runtime.tune", UNETD_MEMBER(runtime.tune), {"off", "on"},
          "on: measure what runtime.kernels leaves open and use the fastest; choices are kept in "
          "$XDG_CACHE_HOME/unetd (~/.cache/unetd) and differ from machine to machine, and with "
          "them the last bits of results"),
      choice("runtime.precision", UNETD_MEMBER(runtime.precision), {"f32", "bf16", "f16"},
             "storage of images and filters between the first and the last layer, on a GPU; sums, "
             "parameters, batch norm and the last layer are f32 always, and f16 trains with a loss "
             "scale that adapts itself"),
      number("runtime.precision_from", UNETD_MEMBER(runtime.precision_from), any_from(1),
             "epoch of training from which on runtime.precision holds; f32 before it")};
}

#undef UNETD_MEMBER

}  // namespace

std::string join(std::span<const std::string> words, const char* separator) {
  std::string joined;
  for (const std::string& w : words) joined += (joined.empty() ? "" : separator) + w;
  return joined;
}

const std::vector<Key>& key_table() {
  static const std::vector<Key> keys = [] {
    std::vector<Key> all;
    for (auto* group : {model_keys, training_keys, optimisation_keys, data_keys, inference_keys}) {
      for (Key& key : group()) all.push_back(std::move(key));
    }
    const Config defaults;
    for (Key& key : all) key.description.fallback = key.get(defaults);
    return all;
  }();
  return keys;
}

}  // namespace unetd
