// What is said where a device's memory runs out: how much was wanted, and which batch or tile fits.
#include "kernels/register.h"
#include "tests/support/memory_limit.h"
#include "unet/predictor.h"
#include "unet/trainer.h"

#include <regex>
#include <string>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

const UNetConfig small_unet{.in_channels = 3, .classes = 2, .width = 4, .depth = 1};

// What an out-of-memory message says would fit, and 0 if it does not.
int64_t fitting(const std::string& message, const std::string& key) {
  std::smatch match;
  const std::regex pattern(key + " (\\d+) would fit");
  return std::regex_search(message, match, pattern) ? std::stoll(match[1]) : 0;
}

template <class F>
std::string out_of_memory(F&& f) {
  try {
    f();
  } catch (const OutOfMemory& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("memory that runs out says how much was wanted, and which key to lower", "[device]") {
  register_kernels();
  constexpr size_t far_too_much = size_t{1} << 60;
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    CHECK_THROWS_AS(Buffer(device, far_too_much), OutOfMemory);
    CHECK_THROWS_WITH(
        Buffer(device, far_too_much),
        Catch::Contains(str(far_too_much >> 20, " MiB wanted")) && Catch::Contains("MiB free"));
  }
  Config config;
  config.runtime.device = "cpu";
  config.runtime.kernels = "*=ref";
  constexpr int64_t side = int64_t{1} << 25;  // not even one image
  CHECK_THROWS_WITH(Trainer(config, small_unet, {4, side, side, 3}, 1, {}),
                    Catch::Contains("MiB wanted") && Catch::Contains("not even training.batch 1") &&
                        Catch::Contains("training.crop"));
}

TEST_CASE("a batch that is too large is told which one would fit", "[device]") {
  register_kernels();
  constexpr int64_t wanted = 4000, side = 64;
  Config config;
  for (const char* device : {"cpu", "simt"}) {
    config.runtime.device = device;
    const auto training = [&](int64_t batch) {
      const MemoryLimit limit(size_t{256} << 20);
      return out_of_memory([&] { Trainer(config, small_unet, {batch, side, side, 3}, 1, {}); });
    };
    const std::string message = training(wanted);
    INFO(device << ": " << message);
    const int64_t batch = fitting(message, "training.batch");
    CHECK(batch > 1);
    CHECK(batch < wanted);
    CHECK(training(batch).empty());
    CHECK_FALSE(training(batch + batch / 4).empty());  // a sixteenth of the memory is spared
  }
}

TEST_CASE("a tile or a batch too large for inference is told which one would fit", "[device]") {
  register_kernels();
  Params params = unet_params(small_unet, DeviceType::simt);
  params.initialise(1);
  Predictor predictor(params, small_unet, {.device = DeviceType::simt}, false);
  const auto refusal = [&](const Tensor& image) {
    const MemoryLimit limit(size_t{64} << 20);
    return out_of_memory([&] { predictor.logits(image); });
  };
  const std::string of_tile = refusal(Tensor({1, 2048, 2048, 3}, DType::f32));
  const int64_t tile = fitting(of_tile, "inference.tile");
  INFO(of_tile);
  CHECK(tile > 0);
  CHECK(tile < 2048);
  CHECK(tile % small_unet.stride() == 0);
  const std::string of_batch = refusal(Tensor({64, 256, 256, 3}, DType::f32));
  const int64_t batch = fitting(of_batch, "training.batch");
  INFO(of_batch);
  CHECK(batch > 0);
  CHECK(batch < 64);
}
