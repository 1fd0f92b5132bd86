// Ten to thirty training steps of a whole network against the same steps in PyTorch.
#include "kernels/register.h"
#include "tests/support/compare.h"
#include "tests/support/fixtures.h"
#include "tests/support/parity.h"
#include "unet/trainer.h"

#include <algorithm>
#include <cmath>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

// The elements of a parameter that the fixture holds.
std::vector<double> samples_of(const Params& params, const std::string& name) {
  const std::vector<double> all = doubles(params.read(name));
  const size_t count = std::min<size_t>(64, all.size());
  std::vector<double> samples;
  for (size_t i = 0; i < count; ++i) samples.push_back(all[i * all.size() / count]);
  return samples;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double square = 0;
  for (size_t i = 0; i < a.size(); ++i) square += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(square);
}

Config config_of(const SafeTensorsFile& file) {
  Config config;
  config.optimizer.lr = load_number(file, "learning_rate");
  config.optimizer.clip_norm = load_number(file, "clip_norm");
  config.schedule.type = Config::Schedule::constant;
  apply_override(config, {"loss.type", file.metadata().at("loss"), "fixture"});
  config.model.width = static_cast<int64_t>(load_number(file, "width"));
  config.model.depth = static_cast<int64_t>(load_number(file, "depth"));
  apply_override(config, {"model.upsample", file.metadata().at("upsample"), "fixture"});
  config.model.conv_bias = load_number(file, "conv_bias") != 0;
  for (const auto& [key, value] : file.metadata()) {
    if (key.starts_with("model.")) apply_override(config, {key, value, "fixture"});
  }
  config.training.seed = static_cast<int64_t>(load_number(file, "seed"));
  return config;
}

UNetConfig model_of(const SafeTensorsFile& file) {
  const auto integer = [&](const char* key) {
    return static_cast<int64_t>(load_number(file, key));
  };
  return unet_config(config_of(file), integer("in_channels"), integer("classes"));
}

Tensor network_input(const Tensor& samples) {
  Tensor image(samples.shape(), DType::f32);
  std::ranges::transform(samples.span<uint8_t>(), image.span<float>().begin(),
                         [](uint8_t v) { return static_cast<float>(v) / 255.0F; });
  return image;
}

void check_start(const Params& params, const SafeTensorsFile& file) {
  for (const ParamSpec& spec : params.specs()) {
    if (!file.contains("start/" + spec.name)) continue;
    INFO(spec.name);
    REQUIRE(samples_of(params, spec.name) == doubles(load_tensor(file, "start/" + spec.name)));
  }
}

// Weights are held to how far they moved: an error in a gradient cannot hide behind their size.
void check_final(const Params& params, const SafeTensorsFile& file) {
  size_t compared = 0;
  for (const ParamSpec& spec : params.specs()) {
    if (!file.contains("final/" + spec.name)) continue;
    ++compared;
    INFO(spec.name);
    const std::vector<double> got = samples_of(params, spec.name);
    const std::vector<double> want = doubles(load_tensor(file, "final/" + spec.name));
    const std::vector<double> start = doubles(load_tensor(file, "start/" + spec.name));
    CHECK(distance(got, want) <= 0.05 * distance(want, start));
    const std::vector<double> all = doubles(params.read(spec.name));
    const double norm = distance(all, std::vector<double>(all.size()));
    const std::vector<double> summary = doubles(load_tensor(file, "summary/" + spec.name));
    CHECK(std::abs(norm - summary[1]) <= 0.05 * summary[2]);
  }
  const auto stored = std::ranges::count_if(
      file.tensors(), [](const auto& entry) { return entry.first.starts_with("final/"); });
  CHECK(compared == static_cast<size_t>(stored));
  CHECK(compared > 10);
}

}  // namespace

TEST_CASE("training keeps step with PyTorch", "[unet][slow]") {
  register_kernels();
  const std::string name = GENERATE(as<std::string>(), "transposed", "bilinear", "overlap",
                                    "aladdinpersson", "ronneberger2015", "single", "dumbnet");
  DYNAMIC_SECTION(name) {
    const SafeTensorsFile file = open_fixture("parity_" + name);
    const auto seed = static_cast<uint64_t>(load_number(file, "seed"));
    const auto size = static_cast<int64_t>(load_number(file, "size"));
    const auto batch = static_cast<int64_t>(load_number(file, "batch"));
    const auto steps = static_cast<int64_t>(load_number(file, "steps"));

    const UNetConfig model = model_of(file);
    Trainer trainer(config_of(file), model, {batch, size, size, model.in_channels}, steps, {});
    set_parity_start(trainer.params(), seed);
    check_start(trainer.params(), file);
    const ParityBatch first = parity_batch(seed, 0, batch, size);
    REQUIRE(difference(first.samples, load_tensor(file, "first_images"), {0, 0}).empty());
    REQUIRE(difference(first.labels, load_tensor(file, "first_labels"), {0, 0}).empty());

    const std::vector<double> losses = doubles(load_tensor(file, "losses"));
    const std::vector<double> norms = doubles(load_tensor(file, "grad_norms"));
    for (int64_t step = 0; step < steps; ++step) {
      const ParityBatch data = parity_batch(seed, step, batch, size);
      const StepResult result = trainer.train(network_input(data.samples), data.labels);
      const auto at = static_cast<size_t>(step);
      INFO("step " << step << ": loss " << result.loss << ", in PyTorch " << losses[at]);
      CHECK(std::abs(result.loss - losses[at]) <= 1e-4 * losses[at]);
      CHECK(std::abs(result.grad_norm - norms[at]) <= 2e-2 * norms[at]);
    }
    check_final(trainer.params(), file);
  }
}
