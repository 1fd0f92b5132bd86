#include "engine/base/rng.h"
#include "tests/support/gpu.h"
#include "tests/support/networks.h"
#include "tests/support/random.h"
#include "unet/predictor.h"
#include "unet/trainer.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

// The mean over turned views, pixel by pixel: an image of indices, turned along, tells where a
// pixel of a turned view comes from.
Tensor mean_over_views(Predictor& predictor, const Tensor& image, int views) {
  const Shape s = image.shape();
  const int64_t classes = predictor.model().classes;
  Tensor index({s.n, s.h, s.w, 1}, DType::f32), mean({s.n, s.h, s.w, classes}, DType::f32);
  for (size_t i = 0; i < index.span<float>().size(); ++i) {
    index.span<float>()[i] = static_cast<float>(i);
  }
  for (int turned = 0; turned < views; ++turned) {
    const Tensor from = apply_symmetry(index, turned);
    const Tensor view = apply_symmetry(image, turned);
    const Surrounded whole(view, predictor.model());
    const Tensor p = whole.part(predictor.predict(*whole.images().samples, Outputs::probabilities));
    for (size_t i = 0; i < from.span<float>().size(); ++i) {
      const auto pixel = static_cast<size_t>(from.span<float>()[i]);
      for (size_t k = 0; k < static_cast<size_t>(classes); ++k) {
        mean.span<float>()[pixel * static_cast<size_t>(classes) + k] +=
            p.span<float>()[i * static_cast<size_t>(classes) + k] / static_cast<float>(views);
      }
    }
  }
  return mean;
}

// Classes of two or more channels, or of one by its threshold.
std::vector<uint8_t> best_of(const Tensor& values, float threshold) {
  const auto c = static_cast<size_t>(values.shape().c);
  std::vector<uint8_t> classes;
  for (size_t i = 0; i < values.span<float>().size(); i += c) {
    const auto pixel = values.span<float>().subspan(i, c);
    classes.push_back(c == 1
                          ? (pixel[0] > threshold ? 1 : 0)
                          : static_cast<uint8_t>(std::ranges::max_element(pixel) - pixel.begin()));
  }
  return classes;
}

bool same_counts(const Confusion& a, const Confusion& b) {
  bool same = a.classes() == b.classes();
  for (int64_t i = 0; same && i < a.classes() * a.classes(); ++i) {
    same = a.count(i / a.classes(), i % a.classes()) == b.count(i / a.classes(), i % a.classes());
  }
  return same;
}

// Mean, classes and counts of a predictor's outputs on a device, each against those of the former.
void check_views(Predictor& predictor, const Shape& shape, int views) {
  const DeviceType device = predictor.options().device;
  INFO(name_of(device) << ", " << predictor.model().classes << " outputs, " << views << " views");
  const Tensor image = random_image(shape, 4);
  Tensor labels({shape.n, shape.h, shape.w, 1}, DType::u8);
  for (size_t i = 0; i < labels.span<uint8_t>().size(); ++i) {
    labels.span<uint8_t>()[i] = i % 11 == 0 ? uint8_t{255} : static_cast<uint8_t>(i % 2);
  }
  const Tensor want = mean_over_views(predictor, image, views);
  Band band(predictor.options(), want.shape());
  band.reach(shape.h);
  const std::vector<float> rows(static_cast<size_t>(shape.h), 1.F),
      columns(static_cast<size_t>(shape.w), 1.F);
  const Surrounded whole(image, predictor.model());
  predictor.blend(whole.images(), Outputs::probabilities, views, band, {0, 0, rows, columns});
  const Tensor mean = band.take(0, shape.h);
  CHECK(largest_difference(mean, want) < 1e-6);
  const Tensor classes = predictor.classes(image, views);
  const auto found = classes.span<uint8_t>();
  const std::vector<uint8_t> best = best_of(mean, 0.5F);
  CHECK(std::ranges::equal(found, best));
  ScoreCounter counter(device, predictor.model().classes, 0.5);
  Confusion counted(2);
  for (int times = 0; times < 2; ++times) {
    predictor.count(image, labels, views, counter);
    counted.add(labels.span<uint8_t>(), found);
  }
  const Tallies tallies = counter.take();
  CHECK(same_counts(tallies.confusion, counted));
  int64_t pixels = 0;
  for (const ProbabilityTally::Bin& bin : tallies.probabilities->bins) pixels += bin.pixels;
  CHECK(pixels == counted.total());
  CHECK(counter.take().confusion.total() == 0);
}

void check_views(DeviceType device, const Shape& shape, const std::vector<int>& views) {
  for (const int64_t outputs : {1, 2}) {
    UNetConfig c = small_config(false);
    c.classes = outputs;
    Predictor predictor(random_params(c), c, {.device = device});
    for (const int count : views) check_views(predictor, shape, count);
  }
}

}  // namespace

TEST_CASE("a network without padding reads its scene mirrored, and nothing else", "[model]") {
  const UNetConfig c = small_preset("ronneberger2015");
  Predictor predictor(random_params(c), c, {});
  const Tensor image = random_image({2, 12, 20, 3}, 4);
  const Tensor logits = one_pass(predictor, image);
  REQUIRE(logits.shape() == Shape{2, 12, 20, 2});
  CHECK(best_of(logits, 0) == [&] {
    const Tensor classes = predictor.classes(image, 1);
    return std::vector<uint8_t>(classes.span<uint8_t>().begin(), classes.span<uint8_t>().end());
  }());
  check_views(predictor, {2, 12, 20, 3}, 1);
  check_views(predictor, {2, 12, 20, 3}, 8);  // sides without a rest: views have one grid
}

TEST_CASE("views are averaged, classified and counted", "[model]") {
  check_views(DeviceType::cpu, {2, 16, 24, 3}, {1, 4, 8});
}

TEST_CASE("views are averaged, classified and counted on the emulated GPU", "[model][simt][slow]") {
  check_views(DeviceType::simt, {2, 8, 16, 3}, {1, 8});
}

TEST_CASE("views are averaged, classified and counted on the GPU", "[model][gpu]") {
  register_kernels();
  if (gpu_is_there()) check_views(DeviceType::cuda, {2, 16, 24, 3}, {1, 4, 8});
}

TEST_CASE("a band moves down a map", "[model]") {
  const UNetConfig c = small_config(false);
  Predictor predictor(random_params(c), c, {});
  const Tensor image = random_image({1, 16, 16, 3}, 4);
  const Tensor want = predictor.logits(image);
  const std::vector<float> ones(16, 1.F);
  Band band({}, {1, 20, 24, 2});
  for (int64_t row = 0; row < 100; row += 7) {  // 9 rows of each are added to again
    band.reach(row + 16);
    predictor.blend(image, Outputs::logits, 1, band, {row, 8, ones, ones});
    const Tensor rows = band.take(row, row + 7);
    double most = 0;
    for (int64_t y = 0; y < 7; ++y) {
      for (int64_t i = 0; i < 24 * 2; ++i) {
        float sum = 0;
        for (int64_t down = y; i >= 8 * 2 && down < 16 && down <= row + y; down += 7) {
          sum += want.span<float>()[static_cast<size_t>(down * 16 * 2 + i - 8 * 2)];
        }
        most = std::max(most, std::abs(double{rows.span<float>()[static_cast<size_t>(y * 48 + i)]} -
                                       double{sum}));
      }
    }
    CHECK(most < 1e-5);
  }
  band.restart();
  band.reach(20);
  const Tensor empty = band.take(0, 20);
  CHECK(std::ranges::all_of(empty.span<float>(), [](float v) { return v == 0; }));
  CHECK_THROWS_AS(band.take(0, 21), Error);
}

TEST_CASE("the trainer counts every labelled pixel once", "[train]") {
  register_kernels();
  UNetConfig c = small_preset(GENERATE("milesial", "ronneberger2015"));
  c.depth = 2;
  Trainer trainer(Config{}, c, {2, 48, 48, 3}, 10, {});
  int64_t labelled[2] = {};
  for (const int64_t images : {2, 1}) {  // the last batch of a split is often smaller
    Tensor labels({images, 48, 48, 1}, DType::u8);
    for (size_t i = 0; i < labels.span<uint8_t>().size(); ++i) {
      const size_t label = i % 13 == 0 ? 255 : i % 5 == 0 ? 1 : 0;
      labels.span<uint8_t>()[i] = static_cast<uint8_t>(label);
      if (label != 255) ++labelled[label];
    }
    CHECK(trainer.evaluate(random_image({images, 48, 48, 3}, 9), labels) > 0);
  }
  const Tallies tallies = trainer.take_tallies();
  const Confusion& confusion = tallies.confusion;
  for (int64_t k = 0; k < 2; ++k) {
    CHECK(confusion.count(k, 0) + confusion.count(k, 1) == labelled[k]);
  }
  int64_t confident = 0;
  for (const ProbabilityTally::Bin& bin : tallies.probabilities->bins) confident += bin.pixels;
  CHECK(confident == labelled[0] + labelled[1]);
  CHECK(trainer.take_tallies().confusion.total() == 0);
}

TEST_CASE("without padding the middle of a patch is learnt, however it is turned", "[train]") {
  register_kernels();
  UNetConfig c = small_preset("ronneberger2015");
  c.depth = 2;
  c.dropout = 0;
  // 49 pixels a side: 48 are used, of which 8 are predicted; 7 are sure to be in any orientation.
  const Shape shape{1, 49, 49, 3};
  Tensor image(shape, DType::u8), valid({1, 49, 49, 1}, DType::u8),
      labels(valid.shape(), DType::u8);
  Rng rng(7);
  for (uint8_t& x : image.span<uint8_t>()) x = static_cast<uint8_t>(rng.below(256));
  for (uint8_t& x : valid.span<uint8_t>()) x = 1;
  const std::vector<BandConstants> bands(3, {.line = {.shift = 128, .scale = 0.02F}});
  for (const int32_t turned : {0, 1, 2, 5}) {
    Draws draws = Draws::none(1, 3);
    draws.patches[0].symmetry = turned;
    const auto loss = [&](uint8_t inside, uint8_t outside) {
      for (int64_t i = 0; i < labels.count(); ++i) {
        const auto in = [](int64_t at) { return at >= 21 && at < 28; };
        labels.span<uint8_t>()[static_cast<size_t>(i)] =
            in(i / 49) && in(i % 49) ? inside : outside;
      }
      Trainer trainer(Config{}, c, shape, 10, {}, DType::u8);
      return trainer.train({image, valid, bands, &draws}, labels).loss;
    };
    CHECK(loss(1, 0) == loss(1, 1));
    CHECK(loss(1, 0) != loss(0, 0));
    CHECK(loss(255, 1) == 0);
  }
}

TEST_CASE("dropout depends on the step, and on nothing else", "[train]") {
  register_kernels();
  Config config;
  config.optimizer.lr = 0;
  UNetConfig c = small_config(false);
  c.norm = false;
  c.dropout = 0.5;
  c.he_init = true;  // or little of the deepest level would be seen in the loss
  const Tensor image = random_image({1, 16, 16, 3}, 15);
  Tensor labels({1, 16, 16, 1}, DType::u8);
  Trainer trainer(config, c, image.shape(), 10, {});
  const double first = trainer.train(image, labels).loss,
               second = trainer.train(image, labels).loss;
  CHECK(first != second);
  Trainer again(config, c, image.shape(), 10, {});
  again.set_step(1);
  CHECK(again.train(image, labels).loss == second);
  CHECK(again.evaluate(image, labels) == trainer.evaluate(image, labels));
}

TEST_CASE("a network without batch norm has an average, too", "[train][simt]") {
  register_kernels();
  UNetConfig c = small_config(false);
  c.norm = false;
  c.conv_bias = true;
  const Tensor image = random_image({1, 16, 16, 3}, 16);
  Tensor labels({1, 16, 16, 1}, DType::u8);
  std::vector<double> losses;
  for (const char* device : {"cpu", "simt"}) {
    Config config;
    config.runtime.device = device;
    config.training.ema_decay = 0.9;
    Trainer trainer(config, c, image.shape(), 10, {});
    trainer.train(image, labels);
    losses.push_back(trainer.evaluate(image, labels));
  }
  CHECK(losses[1] == Approx(losses[0]).epsilon(1e-4));
}

TEST_CASE("a network learns four images by heart", "[train]") {
  register_kernels();
  Config config;
  config.optimizer.lr = 5e-3;
  config.schedule.type = Config::Schedule::constant;
  const UNetConfig c = small_config(false);
  const Tensor image = random_image({4, 16, 16, 3}, 11);
  Tensor labels({4, 16, 16, 1}, DType::u8);
  for (int64_t i = 0; i < labels.count(); ++i) {
    labels.span<uint8_t>()[static_cast<size_t>(i)] = i / 16 % 16 < 8 ? 0 : 1;
  }
  Trainer trainer(config, c, image.shape(), 200, {});
  const double first = trainer.train(image, labels).loss;
  double last = first;
  while (trainer.step() < 200) last = trainer.train(image, labels).loss;
  CHECK(first > 0.3);
  CHECK(last < 0.1 * first);
}

TEST_CASE("labels that are all ignored neither change nor break the network", "[train]") {
  register_kernels();
  Config config;
  config.optimizer.weight_decay = 0;
  const UNetConfig c = small_config(false);
  Tensor labels({1, 16, 16, 1}, DType::u8);
  for (uint8_t& l : labels.span<uint8_t>()) l = 255;
  Trainer trainer(config, c, {1, 16, 16, 3}, 10, {});
  const Tensor before = trainer.params().read("inc.double_conv.0.weight");
  const StepResult result = trainer.train(random_image({1, 16, 16, 3}, 12), labels);
  CHECK(result.loss == 0);
  CHECK(largest_difference(trainer.params().read("inc.double_conv.0.weight"), before) == 0);
}

TEST_CASE("a single output trains with overlap, but not with a softmax", "[train]") {
  register_kernels();
  Config config;
  UNetConfig c = small_config(false);
  c.classes = 1;
  const Shape shape{1, 16, 16, 3};
  CHECK_THROWS_WITH(Trainer(config, c, shape, 1, {}), Catch::Contains("loss.type"));
  Config both;
  both.loss.focal_gamma = 2;
  both.loss.label_smoothing = 0.1;
  CHECK_THROWS_WITH(Trainer(both, small_config(false), shape, 1, {}),
                    Catch::Contains("loss.label_smoothing"));
  config.loss.terms = {{Config::LossType::bce}, {Config::LossType::tversky, 0.5}};
  // Weights of the second term only, which do not matter where there is one.
  const std::vector<std::vector<float>> weights{{}, {3}};
  Trainer weighted(config, c, shape, 1, weights), plain(config, c, shape, 1, {});
  Tensor labels({1, 16, 16, 1}, DType::u8);
  for (size_t i = 0; i < 60; ++i) labels.span<uint8_t>()[i] = 1;
  const Tensor image = random_image(shape, 14);
  const StepResult want = plain.train(image, labels), got = weighted.train(image, labels);
  CHECK(got.loss == Approx(want.loss));
  CHECK(got.grad_norm == Approx(want.grad_norm));
  CHECK_THROWS_WITH(Trainer(config, c, shape, 1, std::vector<std::vector<float>>(1)),
                    Catch::Contains("2 terms"));
}
