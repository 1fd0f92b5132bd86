// What a trainer does from step to step: schedules against PyTorch, several batches a step,
// optimisers by their names, values that are not finite.
#include "kernels/register.h"
#include "tests/support/compare.h"
#include "tests/support/fixtures.h"
#include "tests/support/random.h"
#include "tests/support/temp_folder.h"
#include "unet/checkpoint.h"
#include "unet/schedule.h"
#include "unet/trainer.h"

#include <cmath>
#include <cstring>
#include <deque>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

constexpr Shape shape{2, 16, 16, 3};
const UNetConfig network{.in_channels = 3, .classes = 2, .width = 4, .depth = 2};

struct Sample {
  Tensor image = Tensor(shape, DType::f32), labels = Tensor({shape.n, 16, 16, 1}, DType::u8);

  explicit Sample(uint64_t seed) {
    Rng rng(seed, 0);
    for (float& v : image.span<float>()) v = rng.uniform(-1, 1);
    for (size_t i = 0; i < labels.span<uint8_t>().size(); ++i)
      labels.span<uint8_t>()[i] = image.span<float>()[3 * i] > 0 ? 1 : 0;
  }
};

Config constant_rate() {
  Config config;
  config.schedule.type = Config::Schedule::constant;
  config.optimizer.clip_norm = 0;
  return config;
}

std::vector<double> values_of(const Trainer& trainer, const std::string& name) {
  return doubles(trainer.params().read(name));
}

// The parameters' change in a step of plain gradient descent with rate 1: the gradient.
std::vector<double> gradient_of(const Sample& sample, const std::string& name) {
  Config config = constant_rate();
  config.optimizer = {.type = Config::OptimizerType::sgd, .lr = 1, .weight_decay = 0};
  config.optimizer.clip_norm = 0;
  Trainer trainer(config, network, shape, 10, {});
  std::vector<double> change = values_of(trainer, name);
  trainer.train(sample.image, sample.labels);
  const std::vector<double> after = values_of(trainer, name);
  for (size_t i = 0; i < change.size(); ++i) change[i] -= after[i];
  return change;
}

enum class Ahead : uint8_t { none, all, wrong };  // wrong: another batch than is trained on

std::vector<double> losses(const Config& config, Ahead ahead) {
  std::deque<Sample> batches;
  for (uint64_t seed = 1; seed <= 6; ++seed) batches.emplace_back(seed);
  Trainer trainer(config, network, shape, 10, {});
  std::vector<double> all;
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto meanwhile = [&] {
      if (ahead == Ahead::none || i + 1 == batches.size()) return;
      const Sample& next = batches[ahead == Ahead::all ? i + 1 : 0];
      trainer.bring_ahead(next.image, next.labels);
    };
    const Sample& now = batches[i];
    if (static_cast<int64_t>(i + 1) % config.training.accumulate != 0) {
      trainer.accumulate(now.image, now.labels, meanwhile);
    } else {
      all.push_back(trainer.train(now.image, now.labels, meanwhile).loss);
    }
  }
  return all;
}

const std::string first_filter = "inc.double_conv.0.weight",
                  mean = "inc.double_conv.1.running_mean";

}  // namespace

TEST_CASE("learning rates are PyTorch's", "[train]") {
  for (const FixtureCase& f : fixture_cases("schedules")) {
    INFO(f.name());
    Config config;
    config.optimizer = {.type = Config::OptimizerType::sgd, .lr = 0.1, .momentum = 0.7};
    const auto set = [&](double& setting, const char* name) {
      if (f.has_number(name)) setting = f.number(name);
    };
    auto& s = config.schedule;
    set(s.final_lr_ratio, "final_lr_ratio");
    set(s.factor, "gamma");
    set(s.factor, "factor");
    set(s.power, "power");
    set(s.rise, "rise");
    set(s.div_factor, "div_factor");
    set(s.final_div_factor, "final_div_factor");
    set(s.low_momentum, "low_momentum");
    set(s.high_momentum, "high_momentum");
    if (f.has_number("step_every")) s.step_every = f.integer("step_every");
    if (f.has_number("patience")) s.patience = f.integer("patience");
    if (f.has_number("falling") && f.integer("falling") != 0)
      config.training.best_by = Config::Judge::loss;
    for (const char* type : {"cosine", "linear", "step", "polynomial", "one_cycle", "plateau"})
      if (f.name().starts_with(type)) apply_override(config, {"schedule.type", type, "fixture"});
    REQUIRE(s.type != Config::Schedule::constant);

    const std::vector<double> rates = doubles(f.tensor("rates"));
    const std::vector<double> scores =
        f.has("scores") ? doubles(f.tensor("scores")) : std::vector<double>();
    const std::vector<double> momenta =
        f.has("momenta") ? doubles(f.tensor("momenta")) : std::vector<double>(rates.size(), 0.7);
    Plateau plateau;
    for (size_t i = 0; i < rates.size(); ++i) {
      INFO("step " << i);
      const auto step = static_cast<int64_t>(i), steps = std::ssize(rates);
      CHECK(plateau.factor * learning_rate(config, step, steps) == Approx(rates[i]).epsilon(1e-10));
      CHECK(momentum(config, step, steps) == Approx(momenta[i]).epsilon(1e-10));
      if (!scores.empty()) plateau.judge(config, scores[i]);
    }
    if (!scores.empty()) CHECK(plateau.factor < 1);
  }
}

TEST_CASE("several batches a step give their mean gradient", "[train]") {
  register_kernels();
  const Sample a(1), b(2), c(3);
  Config config = constant_rate();
  config.optimizer = {.type = Config::OptimizerType::sgd, .lr = 1, .weight_decay = 0};
  config.optimizer.clip_norm = 0;
  config.training.accumulate = 3;
  Trainer trainer(config, network, shape, 10, {});
  const std::vector<double> before = values_of(trainer, first_filter);
  trainer.accumulate(a.image, a.labels);
  trainer.accumulate(b.image, b.labels);
  CHECK_THROWS_AS(trainer.accumulate(c.image, c.labels), Error);
  CHECK(values_of(trainer, first_filter) == before);
  const StepResult result = trainer.train(c.image, c.labels);
  CHECK(trainer.step() == 1);
  CHECK(std::isfinite(result.loss));

  const std::vector<double> after = values_of(trainer, first_filter);
  const auto ga = gradient_of(a, first_filter), gb = gradient_of(b, first_filter),
             gc = gradient_of(c, first_filter);
  double largest = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double want = (ga[i] + gb[i] + gc[i]) / 3;
    largest = std::max(largest, std::abs(want));
    CHECK(before[i] - after[i] == Approx(want).margin(1e-6));
  }
  CHECK(largest > 1e-3);
}

TEST_CASE("every optimiser lowers the loss, by one batch a step or by two", "[train]") {
  register_kernels();
  const Sample sample(4);
  using Type = Config::OptimizerType;
  const std::vector<Config::Optimizer> optimizers = {
      {.type = Type::adamw, .lr = 5e-3},
      {.type = Type::adam, .lr = 5e-3, .amsgrad = true},
      {.type = Type::sgd, .lr = 0.05, .weight_decay = 0},
      {.type = Type::sgd, .lr = 0.05, .weight_decay = 0, .momentum = 0.9, .nesterov = true},
      {.type = Type::rmsprop, .lr = 1e-3, .weight_decay = 0},
      {.type = Type::rmsprop, .lr = 1e-3, .weight_decay = 0, .momentum = 0.9}};
  for (const Config::Optimizer& optimizer : optimizers) {
    for (const int64_t batches : {1, 2}) {
      Config config = constant_rate();
      config.optimizer = optimizer;
      config.training.accumulate = batches;
      config.training.ema_decay = 0.9;
      INFO(to_yaml(config));
      Trainer trainer(config, network, shape, 40, {});
      double first = 0, last = 0;
      while (trainer.step() < 40) {
        for (int64_t i = 1; i < batches; ++i) trainer.accumulate(sample.image, sample.labels);
        last = trainer.train(sample.image, sample.labels).loss;
        if (trainer.step() == 1) first = last;
      }
      CHECK(last < 0.7 * first);
    }
  }
}

TEST_CASE("settings of another optimiser are refused by name", "[train]") {
  register_kernels();
  const auto refused = [](const Config::Optimizer& optimizer, const char* key) {
    Config config;
    config.optimizer = optimizer;
    CHECK_THROWS_WITH(Trainer(config, network, shape, 1, {}), Catch::Contains(key));
  };
  using Type = Config::OptimizerType;
  refused({.type = Type::sgd, .nesterov = true}, "optimizer.nesterov");
  refused({.type = Type::adamw, .nesterov = true}, "optimizer.nesterov");
  refused({.type = Type::rmsprop, .amsgrad = true}, "optimizer.amsgrad");
  refused({.type = Type::adam, .momentum = 0.9}, "optimizer.momentum");
}

TEST_CASE("one cycle gives momentum to an optimiser without", "[train]") {
  register_kernels();
  const Sample sample(7);
  Config config;
  config.schedule.type = Config::Schedule::one_cycle;
  config.optimizer = {.type = Config::OptimizerType::sgd, .lr = 0.1, .nesterov = true};
  Trainer with(config, network, shape, 10, {});
  CHECK(with.optimizer().m);
  CHECK(std::isfinite(with.train(sample.image, sample.labels).loss));
  config.optimizer.nesterov = false;
  config.schedule.cycle_momentum = false;
  CHECK_FALSE(Trainer(config, network, shape, 10, {}).optimizer().m);
}

TEST_CASE("precision changes at a step, also of a resumed run", "[train][simt]") {
  register_kernels();
  const Sample sample(8);
  for (const DType precision : {DType::bf16, DType::f16}) {
    for (const int64_t batches : {1, 2}) {
      INFO(name_of(precision) << ", batches a step: " << batches);
      Config config = constant_rate();
      config.runtime.device = "simt";
      config.training.accumulate = batches;
      UNetConfig mixed = network;
      mixed.compute = precision;
      const Course course{10, 2};
      const auto step = [&](Trainer& trainer) {
        for (int64_t i = 1; i < batches; ++i) trainer.accumulate(sample.image, sample.labels);
        trainer.train(sample.image, sample.labels);
      };
      Trainer plain(config, network, shape, 10, {}), changing(config, mixed, shape, course, {}),
          resumed(config, mixed, shape, course, {});
      for (int i = 0; i < 2; ++i) step(plain), step(changing);
      CHECK(values_of(changing, first_filter) == values_of(plain, first_filter));
      CHECK(changing.model().compute == precision);

      const TempFolder folder;
      save_checkpoint(folder / "at.ckpt", changing, {}, false);
      CHECK(resumed.model().compute == DType::f32);
      Checkpoint(folder / "at.ckpt").restore(resumed);
      CHECK(resumed.model().compute == precision);
      step(plain), step(changing), step(resumed);
      CHECK(values_of(changing, first_filter) != values_of(plain, first_filter));
      CHECK(values_of(changing, first_filter) == values_of(resumed, first_filter));
      CHECK(std::isfinite(changing.evaluate(sample.image, sample.labels)));
    }
  }
}

TEST_CASE("a batch that is not finite changes nothing, and its node is named", "[train]") {
  register_kernels();
  const Sample good(5);
  Sample bad(6);
  bad.image.span<float>()[5] = INFINITY;
  for (const auto on_nan : {Config::OnNan::stop, Config::OnNan::skip}) {
    Config config = constant_rate();
    config.training.on_nan = on_nan;
    config.training.ema_decay = 0.9;
    Trainer trainer(config, network, shape, 10, {});
    trainer.train(good.image, good.labels);
    const auto filter = values_of(trainer, first_filter), statistic = values_of(trainer, mean);
    const auto averaged = [&] { return doubles(trainer.inference_params().read(mean)); };
    const auto average = averaged();
    if (on_nan == Config::OnNan::stop) {
      CHECK_THROWS_WITH(trainer.train(bad.image, bad.labels),
                        Catch::Contains("step 2") && Catch::Contains("first in image"));
    } else {
      CHECK(trainer.train(bad.image, bad.labels).skipped);
    }
    CHECK(values_of(trainer, first_filter) == filter);
    CHECK(values_of(trainer, mean) == statistic);
    CHECK(averaged() == average);
    const StepResult next = trainer.train(good.image, good.labels);
    CHECK_FALSE(next.skipped);
    CHECK(values_of(trainer, first_filter) != filter);
  }
}

// Surely wrong pixels: each adds its large logit to the loss, and not more than 1 to the gradient.
TEST_CASE("a loss that overflows alone changes nothing either", "[train]") {
  register_kernels();
  const Sample sample(5);
  for (const int64_t batches : {1, 2}) {
    Config config = constant_rate();
    config.training.on_nan = Config::OnNan::skip;
    config.training.accumulate = batches;
    config.loss.terms.front().factor = 1000;
    Trainer trainer(config, network, shape, 10, {});
    Tensor bias({1, 1, 1, network.classes}, DType::f32);
    bias.span<float>()[0] = 1e36F;
    trainer.params().write("outc.conv.bias", bias);
    const auto filter = values_of(trainer, first_filter),
               last = values_of(trainer, "outc.conv.bias"), statistic = values_of(trainer, mean);
    if (batches > 1) trainer.accumulate(sample.image, sample.labels);
    const StepResult result = trainer.train(sample.image, sample.labels);
    CHECK(std::isinf(result.loss));
    CHECK(std::isfinite(result.grad_norm));
    CHECK(result.skipped);
    CHECK(values_of(trainer, first_filter) == filter);
    CHECK(values_of(trainer, "outc.conv.bias") == last);
    CHECK(values_of(trainer, mean) == statistic);
  }
}

TEST_CASE("batches that are sent ahead give the same bits", "[train]") {
  register_kernels();
  for (const char* device : {"cpu", "simt"}) {
    for (const int64_t accumulate : {1, 2}) {
      INFO(device << ", " << accumulate << " batches a step");
      Config config;
      config.runtime.device = device;
      config.training.accumulate = accumulate;
      const std::vector<double> want = losses(config, Ahead::none);
      CHECK(losses(config, Ahead::all) == want);
      CHECK(losses(config, Ahead::wrong) == want);
    }
  }
}

TEST_CASE("a batch on the device does not hide the one that was not finite", "[train]") {
  register_kernels();
  Config config;
  config.runtime.device = "simt";
  Trainer trainer(config, network, shape, 10, {});
  Sample bad(1);
  const Sample good(2);
  bad.image.span<float>()[5] = NAN;
  CHECK_THROWS_WITH(
      trainer.train(bad.image, bad.labels, [&] { trainer.bring_ahead(good.image, good.labels); }),
      Catch::Contains("image (an input) is not finite"));
}
