// Networks that predict values: scores by hand, the scale of the targets, and what the trainer
// makes of them.
#include "kernels/register.h"
#include "tests/support/networks.h"
#include "tests/support/random.h"
#include "tools/epoch_text.h"
#include "tools/scores_json.h"
#include "unet/predictor.h"
#include "unet/runtime.h"
#include "unet/surrounded.h"
#include "unet/targets.h"
#include "unet/trainer.h"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

using namespace unetd;

namespace {

constexpr float none = std::numeric_limits<float>::quiet_NaN();
constexpr Shape shape{2, 16, 16, 3};

Config of_values(const char* loss) {
  Config config;
  apply_override(config, {"loss.type", loss, "test"});
  config.training.best_by = Config::Judge::loss;
  config.schedule.type = Config::Schedule::constant;
  return config;
}

UNetConfig one_output() { return {.in_channels = 3, .classes = 1, .width = 4, .depth = 2}; }

// Images, and as a target of each pixel what a small convolution would make of it: 300 and some
// ten.
struct Sample {
  Tensor image = Tensor(shape, DType::f32), target = Tensor({shape.n, 16, 16, 1}, DType::f32);

  explicit Sample(uint64_t seed) {
    Rng rng(seed, 0);
    for (float& v : image.span<float>()) v = rng.uniform(-1, 1);
    for (size_t i = 0; i < target.span<float>().size(); ++i) {
      const auto* pixel = image.span<float>().data() + 3 * i;
      target.span<float>()[i] = i % 7 == 0 ? none : 300 + 10 * pixel[0] - 5 * pixel[1];
    }
  }
};

const TargetScale scale{300, 10};

std::vector<ImageErrors> errors_of(const Tensor& values, const Tensor& targets) {
  std::vector<ImageErrors> images;
  const auto found = values.span<float>(), wanted = targets.span<float>();
  const size_t pixels = found.size() / static_cast<size_t>(values.shape().n);
  for (size_t at = 0; at < found.size(); at += pixels)
    images.push_back(image_errors(found.subspan(at, pixels), wanted.subspan(at, pixels)));
  return images;
}

}  // namespace

TEST_CASE("scores of values are those of a calculation by hand", "[values]") {
  // In the unit 2 + 10 x: targets 12, 22, 32 and 2, 2; values 22, 22, 22 and 7, nothing.
  ErrorTally tally({2, 10});
  const std::array first{1.F, 2.F, 3.F}, first_values{2.F, 2.F, 2.F};
  const std::array second{0.F, 0.F, none}, second_values{0.5F, 0.F, 99.F};
  tally.add(image_errors(first_values, first));
  tally.add(image_errors(second_values, second));
  const ErrorTally::Scores s = tally.scores();
  CHECK(s.pixels == 5);
  CHECK(s.mae == Approx((10 + 0 + 10 + 5 + 0) / 5.));
  CHECK(s.rmse == Approx(std::sqrt((100 + 0 + 100 + 25 + 0) / 5.)));
  CHECK(s.bias == Approx(5 / 5.));
  const double mean = (12 + 22 + 32 + 2 + 2) / 5.;
  double spread = 0;
  for (const double t : {12, 22, 32, 2, 2}) spread += (t - mean) * (t - mean);
  CHECK(s.r2 == Approx(1 - 225 / spread));
  CHECK(s.mass_error == Approx((0 + 5) / (66. + 4)));
  CHECK(s.target_mean == Approx(mean));
  CHECK(s.target_deviation == Approx(std::sqrt(spread / 5)));

  CHECK(std::isnan(ErrorTally().scores().rmse));
  CHECK(ErrorTally().scores().pixels == 0);
  const std::array broken{1.F, none}, wanted{1.F, 1.F};
  CHECK_THROWS_WITH(image_errors(broken, wanted), Catch::Contains("not a number"));
}

TEST_CASE("scores of values as JSON and as text", "[values]") {
  ErrorTally tally;
  const std::array targets{1.F, 2.F, 3.F}, values{2.F, 2.F, 2.F};
  tally.add(image_errors(values, targets));
  const std::vector<io::ClassInfo> output{{0, "density", "#000000"}};
  const auto json = to_json(tally, output);
  CHECK(json["target"] == "density");
  CHECK(json["rmse"] == Approx(std::sqrt(2. / 3)));
  CHECK(json["r2"] == Approx(0).margin(1e-12));
  CHECK(to_json(ErrorTally(), output)["rmse"].is_null());
  const std::string text = epoch_text({2, 0.5, 0.25, 0, 0}, tally, output);
  CHECK_THAT(text, Catch::StartsWith("Epoch: 2, train_loss: 0.500000, test_loss: 0.250000"));
  CHECK_THAT(text, Catch::Contains("density") && Catch::Contains("0.8165"));
  CHECK(headline(tally) == std::pair<std::string, double>{"RMSE", json["rmse"].get<double>()});
}

TEST_CASE("targets are learnt in their scale and told in their unit", "[values]") {
  const std::array<float, 3> targets{310, 280, none};
  Tensor learnt = as_learnt(Tensor::from<float>({1, 1, 3, 1}, targets), scale);
  CHECK(learnt.span<float>()[0] == 1);
  CHECK(learnt.span<float>()[1] == -2);
  CHECK(std::isnan(learnt.span<float>()[2]));
  bring_to_unit(learnt.span<float>(), scale);
  CHECK(learnt.span<float>()[1] == 280);
}

TEST_CASE("a trainer's evaluation of values is that of the predicted ones", "[values][train]") {
  register_kernels();
  const Config config = of_values(GENERATE("mse", "l1", "mass", "0.5 mse + l1 + 2 mass"));
  UNetConfig network = one_output();
  const bool valid = GENERATE(false, true);
  if (valid) network = small_preset("ronneberger2015"), network.classes = 1, network.depth = 2;
  const Shape patch = valid ? Shape{2, 48, 48, 3} : shape;
  Trainer trainer(config, network, patch, 10, {}, {}, scale);

  Tensor image(patch, DType::f32), target({patch.n, patch.h, patch.w, 1}, DType::f32);
  Rng rng(7, 0);
  for (float& v : image.span<float>()) v = rng.uniform(-1, 1);
  for (float& t : target.span<float>()) t = rng.uniform() < 0.2F ? none : rng.uniform(280, 320);
  const double loss = trainer.evaluate(image, target);

  Predictor predictor(trainer.inference_params(), network, session_options(config));
  const Tensor learnt = as_learnt(target, scale), found = predictor.values(image, 1);
  ErrorTally want(scale);
  double pixels = 0, squared = 0, absolute = 0, mass = 0;
  for (const ImageErrors& e : errors_of(found, learnt)) {
    want.add(e);
    pixels += e.pixels, squared += e.squared, absolute += e.absolute;
    mass += e.error / e.pixels * e.error / e.pixels / static_cast<double>(patch.n);
  }
  double expected = 0;
  for (const Config::LossTerm& term : config.loss.terms) {
    const double of_term = term.type == Config::LossType::mse  ? squared / pixels
                           : term.type == Config::LossType::l1 ? absolute / pixels
                                                               : mass;
    expected += term.factor * of_term;
  }
  CHECK(loss == Approx(expected).epsilon(1e-4));
  const ErrorTally::Scores got = trainer.take_errors().scores(), wanted = want.scores();
  CHECK(got.pixels == wanted.pixels);
  CHECK(got.rmse == Approx(wanted.rmse).epsilon(1e-4));
  CHECK(got.mae == Approx(wanted.mae).epsilon(1e-4));
  CHECK(got.bias == Approx(wanted.bias).epsilon(1e-3).margin(1e-3));
  CHECK(got.mass_error == Approx(wanted.mass_error).epsilon(1e-3));
  CHECK(trainer.take_errors().scores().pixels == 0);
}

TEST_CASE("a network learns values", "[values][train]") {
  register_kernels();
  Config config = of_values(GENERATE("mse", "l1 + mass"));
  config.optimizer.lr = 0.01;
  Trainer trainer(config, one_output(), shape, 100, {}, {}, scale);
  const Sample sample(3);
  trainer.evaluate(sample.image, sample.target);
  const double before = trainer.take_errors().scores().rmse;
  for (int step = 0; step < 100; ++step) trainer.train(sample.image, sample.target);
  trainer.evaluate(sample.image, sample.target);
  const ErrorTally::Scores after = trainer.take_errors().scores();
  CHECK(after.rmse < 0.5 * before);
  CHECK(after.r2 > 0.5);
  CHECK(after.target_mean == Approx(300).epsilon(0.01));
}

// A batch without any target has no gradient.
TEST_CASE("what has no target teaches nothing", "[values][train]") {
  register_kernels();
  Config config = of_values("mse");
  config.optimizer = {.type = Config::OptimizerType::sgd, .lr = 1, .weight_decay = 0};
  Trainer trainer(config, one_output(), shape, 10, {}, {}, scale);
  Sample sample(5);
  for (float& t : sample.target.span<float>()) t = none;
  const Tensor before = trainer.params().read("outc.conv.weight");
  const StepResult step = trainer.train(sample.image, sample.target);
  CHECK(step.loss == 0);
  CHECK(step.grad_norm == 0);
  const Tensor after = trainer.params().read("outc.conv.weight");
  CHECK(std::ranges::equal(before.span<float>(), after.span<float>()));
}

TEST_CASE("values have a mean over turns", "[values]") {
  register_kernels();
  const UNetConfig network = one_output();
  Params params = unet_params(network, DeviceType::cpu);
  params.initialise(3);
  Predictor predictor(params, network, {});
  const Sample sample(9);
  const Tensor mean = predictor.values(sample.image, 8);
  std::vector<double> sum(static_cast<size_t>(mean.count()));
  for (int turn = 0; turn < 8; ++turn) {
    const Tensor turned = predictor.values(apply_symmetry(sample.image, turn), 1);
    // The inverse of a symmetry of the square is one of the eight.
    for (int back = 0; back < 8; ++back) {
      const Tensor image = apply_symmetry(apply_symmetry(sample.image, turn), back);
      if (!std::ranges::equal(image.span<float>(), sample.image.span<float>())) continue;
      const Tensor value = apply_symmetry(turned, back);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += double{value.span<float>()[i]} / 8;
    }
  }
  double most = 0;
  for (size_t i = 0; i < sum.size(); ++i)
    most = std::max(most, std::abs(sum[i] - double{mean.span<float>()[i]}));
  CHECK(most < 1e-5);
}

TEST_CASE("losses on values take one output and no losses on classes", "[values][config]") {
  Config config;
  for (const char* sum : {"mse + dice", "bce + l1", "mass + cross_entropy", "mse + mse"})
    CHECK_THROWS_AS(apply_override(config, {"loss.type", sum, "--set"}), UsageError);
  apply_override(config, {"loss.type", "mse + 0.1 mass", "--set"});
  CHECK(config.loss.of_values());
  CHECK(config_value(config, "loss.type") == "mse + 0.1 mass");
  register_kernels();
  UNetConfig two = one_output();
  two.classes = 2;
  CHECK_THROWS_WITH(Trainer(config, two, shape, 10, {}, {}, scale),
                    Catch::Contains("model.classes"));
}
