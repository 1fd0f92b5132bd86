// Every preset through the programs: trained, scored and mapped without a seam.
#include "io/scene.h"
#include "tests/support/workshop.h"
#include "unet/config.h"

#include <algorithm>
#include <cmath>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

Tensor map_of(const std::string& file) {
  const io::Scene scene = io::Scene::open(file);
  return scene.read(scene.grid().whole()).image;
}

TEST_CASE("every preset trains, scores and maps", "[programs][slow]") {
  const Workshop& w = workshop();
  std::vector<std::string> names;
  for (const auto& [name, text] : presets()) names.push_back(name);
  const std::string name = GENERATE_COPY(from_range(names));
  DYNAMIC_SECTION(name) {
    const std::string run = w.at("run_" + name), whole = w.at("whole_" + name);
    // On classes, whatever the preset is for (test_value_programs.cpp has it on values).
    const bool of_values = load_config({}, {{{"model.preset", name, "test"}}}).loss.of_values();
    const std::string settings =
        " --preset " + name +
        " --set model.depth=1 --set model.in_channels=0 --set model.classes=0 "
        "--set training.steps=4 " +
        (of_values ? "--set loss.type=bce --set training.best_by=mean_iou "
                     "--set inference.emit=classes "
                   : "");
    const ProgramResult first = train(run, settings);
    INFO(first.err);
    REQUIRE(first.code == 0);
    const ProgramResult scored = run_program("unetd-eval --quiet --json --model " + run +
                                             "/last.ckpt --data " + w.store + " --split valid");
    INFO(scored.err);
    CHECK(scored.code == 0);
    const auto logits = [&](const std::string& tile) {
      const std::string out = w.at(name + tile + ".tif");
      const ProgramResult mapped =
          run_program("unetd-infer --quiet --model " + run + "/last.ckpt --scene " + w.scene +
                      " --emit logits --stitch exact --tta none --tile " + tile + " --out " + out);
      INFO(mapped.err);
      REQUIRE(mapped.code == 0);
      return map_of(out);
    };
    const Tensor large = logits("512"), small = logits("48");
    REQUIRE(large.shape() == small.shape());
    double worst = 0;
    for (size_t i = 0; i < large.span<float>().size(); ++i) {
      const double a = large.span<float>()[i], b = small.span<float>()[i];
      if (std::isfinite(a) || std::isfinite(b)) worst = std::max(worst, std::abs(a - b));
    }
    CHECK(worst < 1e-5);
    const ProgramResult blended =
        run_program("unetd-infer --quiet --model " + run + "/last.ckpt --scene " + w.scene +
                    " --stitch blend --tile 64 --tta flips --out " + w.at(name + "_blend.tif"));
    INFO(blended.err);
    CHECK(blended.code == 0);
  }
}

TEST_CASE("patches that are too small for a network without padding are refused", "[programs]") {
  const ProgramResult result =
      train(workshop().at("small"), " --preset ronneberger2015 --set model.depth=3");
  CHECK(result.code == 2);
  CHECK(result.complains("at least 92"));
}

}  // namespace
}  // namespace unetd
