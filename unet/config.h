// The configuration of unetd: every setting that shapes a model, its training or its use. One table
// (in config_keys.cpp) of key, type, range, default and help drives YAML files, --set, the help
// texts, the man pages and the resolved echo; a setting exists there or nowhere.
#pragma once

#include "engine/tensor/normalisation.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unetd {

struct Config {
  enum class Upsample : uint8_t { transposed, bilinear };
  enum class Names : uint8_t { milesial, aladdinpersson };
  enum class LossType : uint8_t { cross_entropy, bce, dice, tversky, mse, l1, mass };
  enum class OptimizerType : uint8_t { adamw, adam, sgd, rmsprop };
  enum class Schedule : uint8_t { constant, cosine, linear, step, polynomial, one_cycle, plateau };
  enum class Judge : uint8_t { mean_iou, loss };
  enum class OnNan : uint8_t { stop, skip };
  enum class Stitch : uint8_t { exact, blend };
  enum class Window : uint8_t { hann, triangular, gaussian };
  enum class Tta : uint8_t { none, flips, d4 };
  enum class Emit : uint8_t { classes, probabilities, logits, values };
  enum class TargetScaling : uint8_t { zscore, none };
  enum class Precision : uint8_t { f32, bf16, f16 };
  enum class Weighting : uint8_t { none, inverse, inverse_sqrt, effective_number, list };

  // One weight per class: none (all 1), from the class shares of the training data, or given.
  struct Weights {
    Weighting kind = Weighting::none;
    std::vector<double> values;  // of kind list
    bool operator==(const Weights&) const = default;
  };

  struct Model {
    std::string preset = "milesial";
    int64_t in_channels = 0, classes = 0;  // 0: as the data says
    int64_t width = 64, depth = 4;
    Upsample upsample = Upsample::transposed;
    bool conv_bias = false;
    bool valid = false, norm = true, single = false;     // padding, norm, block
    bool resize = false, strided = false, skips = true;  // fit, down
    double dropout = 0;
    bool he_init = false;
    Names names = Names::milesial;
    double bn_eps = 1e-5, bn_momentum = 0.1;
    bool operator==(const Model&) const = default;
  } model;
  struct Training {
    int64_t seed = 0;
    int64_t steps = 0;  // 0: from epochs
    int64_t epochs = 30;
    double minutes = 0;  // 0: no limit
    int64_t batch = 8;
    int64_t crop = 0;  // 0: whole patches
    bool shuffle = true;
    int64_t log_every = 10;
    int64_t steps_per_epoch = 0, valid_batches = 0;  // at most; 0: all there are
    int64_t eval_every = 0;                          // steps; 0: after each epoch
    int64_t save_every = 0;                          // steps; 0: after each evaluation
    double ema_decay = 0;                            // 0: off
    int64_t accumulate = 1;                          // batches per optimiser step
    Judge best_by = Judge::mean_iou;
    int64_t patience = 0;  // evaluations; 0: no early stop
    OnNan on_nan = OnNan::stop;
    bool operator==(const Training&) const = default;
  } training;
  struct LossTerm {
    LossType type = LossType::cross_entropy;
    double factor = 1;
    bool operator==(const LossTerm&) const = default;
  };
  struct Loss {
    std::vector<LossTerm> terms = {{}};  // the loss is their sum
    Weights class_weights;               // cross_entropy
    Weights pos_weight;                  // bce; none or list
    Weights overlap_weights;             // dice and tversky
    double tversky_alpha = 0.3, tversky_beta = 0.7;
    double smooth = 1;              // dice and tversky
    double focal_gamma = 0;         // cross_entropy and bce
    double label_smoothing = 0;     // cross_entropy
    double effective_beta = 0.999;  // of the weighting by effective numbers

    bool has(LossType type) const {
      return std::ranges::any_of(terms, [=](const LossTerm& t) { return t.type == type; });
    }
    // Are the outputs sigmoids, each of its own, rather than one softmax?
    bool independent_outputs() const { return has(LossType::bce); }
    // Is the output a value, such as a density, rather than classes?
    bool of_values() const {
      return has(LossType::mse) || has(LossType::l1) || has(LossType::mass);
    }
    bool operator==(const Loss&) const = default;
  } loss;
  struct Optimizer {
    OptimizerType type = OptimizerType::adamw;
    double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
    bool amsgrad = false;               // adamw and adam
    double momentum = 0, alpha = 0.99;  // sgd and rmsprop; rmsprop
    bool nesterov = false;              // sgd
    bool decay_norm_and_bias = true;
    double clip_norm = 1;  // 0: off
    bool operator==(const Optimizer&) const = default;
  } optimizer;
  struct LearningRate {
    Schedule type = Schedule::cosine;
    int64_t warmup_steps = 0;
    double final_lr_ratio = 0.01;                                // cosine and linear
    int64_t step_every = 1000;                                   // step
    double factor = 0.1;                                         // step and plateau
    double power = 0.9;                                          // polynomial
    double rise = 0.3, div_factor = 25, final_div_factor = 1e4;  // one_cycle
    bool cycle_momentum = true;
    double low_momentum = 0.85, high_momentum = 0.95;
    int64_t patience = 10;  // plateau
    bool operator==(const LearningRate&) const = default;
  } schedule;
  struct Augmentation {
    bool enabled = true, flips = true, quarter_turns = true;
    double erasing = 0, erased_side = 0.3;
    double band_dropout = 0;
    double brightness = 0, band_noise = 0;
    bool operator==(const Augmentation&) const = default;
  } augmentation;
  struct Normalise {
    NormalisationMethod method = NormalisationMethod::zscore;
    NormalisationConstants constants = NormalisationConstants::store;
    TargetScaling target = TargetScaling::zscore;
    bool operator==(const Normalise&) const = default;
  } normalisation;
  struct Data {
    int64_t threads = 1;
    bool operator==(const Data&) const = default;
  } data;
  struct Metrics {
    double threshold = 0.5;
    bool operator==(const Metrics&) const = default;
  } metrics;
  struct Inference {
    int64_t tile = 512;
    Stitch stitch = Stitch::exact;
    Window window = Window::hann;
    double overlap = 0.5;
    Tta tta = Tta::none;
    Emit emit = Emit::classes;
    bool operator==(const Inference&) const = default;
  } inference;
  struct Runtime {
    std::string device = "auto";
    int64_t threads = 0;  // 0: the cores this process may use
    std::string kernels;  // KernelChoice
    bool tune = false;
    Precision precision = Precision::f32;
    int64_t precision_from = 1;  // epoch
    bool operator==(const Runtime&) const = default;
  } runtime;

  bool operator==(const Config&) const = default;
};

// One row of the table, for help texts.
struct ConfigKey {
  std::string name;      // "training.batch"
  std::string type;      // "integer >= 1", "transposed|bilinear"
  std::string fallback;  // the default, as it would be written in YAML
  std::string help;
};
const std::vector<ConfigKey>& config_keys();
// Throws UsageError naming the nearest key when there is no such key.
const ConfigKey& config_key(std::string_view name);
// The value of a key as a YAML file writes it.
std::string config_value(const Config& config, std::string_view name);

// A single setting and where it was made ("--set", "--tile"): messages name the place.
struct ConfigOverride {
  std::string key, value, origin;
};
// "a.b=c" -> {a.b, c, "--set"}. Throws UsageError without the '='.
ConfigOverride parse_override(std::string_view text);

// Each applies settings on top of `config`. All throw UsageError in one line that names the place
// (file and line, or flag), the key and what it takes; an unknown key is met with the nearest
// known.
void apply_yaml(Config& config, std::string_view text, std::string_view origin);
void apply_override(Config& config, const ConfigOverride& setting);
void apply_preset(Config& config, std::string_view name);

// Later layers win: `base`, preset, YAML file (may be empty: none), overrides. The preset is the
// one that file or overrides name; without one, and with no base, the default preset.
Config load_config(const std::filesystem::path& file, std::span<const ConfigOverride> overrides);
Config load_config(const std::filesystem::path& file, std::span<const ConfigOverride> overrides,
                   const Config& base);

// Every key with its value, grouped, in the order of the table; apply_yaml reads it back.
std::string to_yaml(const Config& config);

// The built-in presets: name -> YAML text.
const std::map<std::string, std::string, std::less<>>& presets();

// The candidate with the smallest edit distance to `word`, or empty if none is near enough to be
// meant (more than half of it differs).
std::string nearest_word(std::string_view word, std::span<const std::string> candidates);

}  // namespace unetd
