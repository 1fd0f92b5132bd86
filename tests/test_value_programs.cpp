// The programs on targets: from a raster of numbers to a trained network, its scores and its map.
#include "engine/base/file.h"
#include "io/gdal.h"
#include "io/gdal_map_writer.h"
#include "io/patch_store.h"
#include "io/targets.h"
#include "tests/support/rasters.h"
#include "tests/support/workshop.h"
#include "tools/report/html.h"

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

using namespace unetd;
using Catch::Contains;

namespace {

constexpr double nodata = -9999;
constexpr int64_t side = 192;  // of the workshop's scene

// The normalised difference of two bands of the made-up scene, in percent, with a hole.
class Target {
 public:
  Target() : path(workshop().at("snow_index.tif")), store(workshop().at("targets")) {
    const io::Scene scene = io::Scene::open(workshop().scene);
    const io::Raster raster = scene.read(scene.grid().whole());
    const auto bands = static_cast<size_t>(raster.image.shape().c);
    const auto at = [&](size_t pixel, const char* name) {
      size_t band = 0;
      while (scene.bands()[band].name != name) ++band;
      return static_cast<double>(raster.image.span<uint16_t>()[pixel * bands + band]);
    };
    io::write_raster<float>(path, scene.grid(), {{.name = "snow index", .nodata = nodata}},
                            [&](int64_t, int64_t y, int64_t x) {
                              const auto pixel = static_cast<size_t>(y * side + x);
                              if (y >= 60 && y < 75 && x < 20) return nodata;
                              const double green = at(pixel, "B03"), infrared = at(pixel, "B11");
                              return 100 * (green - infrared) / (green + infrared + 1);
                            });
    const ProgramResult tiled =
        run_program("unetd-tile --quiet " + workshop().scene + " --labels " + path +
                    " --target 'snow index:%' --patch 32 --block 64 --out " + store);
    INFO(tiled.err);
    REQUIRE(tiled.code == 0);
  }
  std::string path, store;
};
const Target& target() {
  static const Target once;
  return once;
}

const std::string settings =
    " --preset elaouni --set model.in_channels=0 --set model.width=4 --set model.depth=2 "
    "--set training.batch=4 --set training.log_every=1 --set optimizer.lr=0.01 "
    "--set training.seed=5 ";

ProgramResult train_values(const std::string& run, const std::string& more) {
  return run_program("unetd-train --quiet --data " + target().store + " --out " + run + settings +
                     more);
}

const std::string& run_folder() {
  static const std::string once = [] {
    const std::string run = workshop().at("values_run");
    const ProgramResult trained =
        train_values(run, "--set training.steps=60 --set training.eval_every=20");
    INFO(trained.err);
    REQUIRE(trained.code == 0);
    return run;
  }();
  return once;
}

std::vector<float> pixels_of(const std::string& raster) {
  const io::Dataset file = io::Dataset::open(raster);
  std::vector<float> values(static_cast<size_t>(file.grid().width * file.grid().height));
  const int band = 0;
  file.read(file.grid().whole(), {&band, 1}, DType::f32, values.data());
  return values;
}

// Of the scene, with data and a target.
int64_t labelled_pixels() {
  const io::Scene scene = io::Scene::open(workshop().scene);
  const Tensor valid = scene.read_valid(scene.grid().whole());
  const std::vector<float> targets = pixels_of(target().path);
  int64_t pixels = 0;
  for (size_t i = 0; i < targets.size(); ++i)
    pixels += valid.span<uint8_t>()[i] != 0 && targets[i] != nodata ? 1 : 0;
  return pixels;
}

nlohmann::json json_of(const ProgramResult& result) {
  INFO(result.err);
  REQUIRE(result.code == 0);
  return nlohmann::json::parse(result.out);
}

}  // namespace

TEST_CASE("values are learnt, scored and mapped in their unit", "[values][programs]") {
  const std::string model = run_folder() + "/best.ckpt";
  const std::string map = workshop().at("values.tif"), look = workshop().at("values.png");
  const ProgramResult inferred =
      run_program("unetd-infer --quiet --model " + model + " --scene " + workshop().scene +
                  " --out " + map + " --tile 64 --quicklook " + look);
  INFO(inferred.err);
  REQUIRE(inferred.code == 0);
  const io::MapInfo info = io::map_info(map);
  CHECK(info.description == "snow index");
  CHECK(info.unit == "%");

  // The scores of unetd-eval are those of its map.
  const std::vector<float> found = pixels_of(map), wanted = pixels_of(target().path);
  double count = 0, squared = 0, absolute = 0, sum = 0, total = 0, squares = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (wanted[i] == nodata || std::isnan(found[i])) continue;
    const double e = double{found[i]} - double{wanted[i]};
    count += 1, squared += e * e, absolute += std::abs(e), sum += e;
    total += wanted[i], squares += double{wanted[i]} * wanted[i];
  }
  const std::string difference = workshop().at("error.tif"), page = workshop().at("values.html");
  const nlohmann::json scores = json_of(run_program(
      "unetd-eval --quiet --json --model " + model + " --scene " + workshop().scene + " --labels " +
      target().path + " --difference " + difference + " --report " + page));
  CHECK(scores["target"] == "snow index");
  CHECK(scores["pixels"] == static_cast<int64_t>(count));
  CHECK(count == labelled_pixels());
  CHECK(scores["rmse"] == Approx(std::sqrt(squared / count)).epsilon(1e-5));
  CHECK(scores["mae"] == Approx(absolute / count).epsilon(1e-5));
  CHECK(scores["bias"] == Approx(sum / count).epsilon(1e-4).margin(1e-4));
  const double spread = squares - total * total / count;
  CHECK(scores["r2"] == Approx(1 - squared / spread).epsilon(1e-4));
  CHECK(scores["r2"] > 0.5);  // more than the mean tells

  const std::vector<float> errors = pixels_of(difference);
  for (size_t i = 0; i < errors.size(); ++i) {
    if (wanted[i] == nodata || std::isnan(found[i])) {
      CHECK(std::isnan(errors[i]));
    } else if (errors[i] != Approx(found[i] - wanted[i]).margin(1e-4)) {
      FAIL("pixel " << i << ": " << errors[i] << ", wanted " << found[i] - wanted[i]);
    }
  }
  CHECK_THAT(read_file(page), Contains("RMSE<b>" + report::significant(scores["rmse"]) + " %") &&
                                  Contains("mean error"));
}

TEST_CASE("the report of values shows them", "[values][report][programs]") {
  const std::string page = read_file(run_folder() + "/report.html");
  for (const char* text :
       {"best validation loss<b>", "Errors of the validation", "R&sup2;", "mass error",
        "<h2>Targets</h2>", "snow index", "class=\"ramp\"", "<figcaption>prediction", "RMSE "})
    CHECK_THAT(page, Contains(text));
  for (const char* text : {"Confusion", "mean IoU", "Calibration", "IoU of"})
    CHECK_THAT(page, !Contains(text));
  const std::string scores = workshop().at("values_store.html");
  const nlohmann::json result = json_of(
      run_program("unetd-eval --quiet --json --model " + run_folder() + "/best.ckpt --data " +
                  target().store + " --split valid --report " + scores));
  CHECK_THAT(read_file(scores), Contains("<h2>Differences</h2>") && Contains("<h2>Targets</h2>"));

  // Those of the best line of metrics.jsonl, which the trainer counted on its device.
  nlohmann::json best;
  std::istringstream lines(read_file(run_folder() + "/metrics.jsonl"));
  for (std::string text; std::getline(lines, text);) {
    const auto line = nlohmann::json::parse(text);
    if (line.contains("valid") && (best.is_null() || line["valid_loss"] < best["valid_loss"]))
      best = line;
  }
  CHECK(best["valid"]["rmse"] == Approx(result["rmse"].get<double>()).epsilon(1e-3));
  CHECK(best["valid"]["pixels"] == result["pixels"]);
}

TEST_CASE("a run on targets that was ended and resumed has the same bits", "[values][programs]") {
  const std::string whole = workshop().at("values_whole"), parts = workshop().at("values_parts");
  const std::string steps = " --set training.eval_every=3 --set augmentation.erasing=0.5 ";
  REQUIRE(train_values(whole, steps + "--set training.steps=6").code == 0);
  REQUIRE(
      train_values(parts, steps + "--set training.steps=6 --set training.minutes=0.0000001").code ==
      0);
  const ProgramResult resumed =
      run_program("unetd-train --quiet --resume --data " + target().store + " --out " + parts +
                  " --set training.minutes=0");
  INFO(resumed.err);
  REQUIRE(resumed.code == 0);
  const auto lines = [](const std::string& run) { return read_file(run + "/metrics.jsonl"); };
  CHECK(lines(whole) == lines(parts));
}

TEST_CASE("a network of values as ONNX gives them in their unit", "[values][programs]") {
  const std::string model = run_folder() + "/best.ckpt", onnx = workshop().at("values.onnx");
  REQUIRE(run_program("unetd-convert --quiet " + model + " " + onnx).code == 0);
  const std::string file = read_file(onnx);
  for (const char* text : {"Regressor", "snow index", "values", "scale", "shift"})
    CHECK(file.find(text) != std::string::npos);
  const ProgramResult refused = run_program("unetd-convert --quiet --outputs probabilities " +
                                            model + " " + onnx + " --overwrite");
  CHECK(refused.code == 2);
  CHECK(refused.complains("predicts values"));
}

TEST_CASE("classes and values are not taken for each other", "[values][programs]") {
  const std::string model = run_folder() + "/best.ckpt", out = workshop().at("refused");
  const auto refuses = [](const ProgramResult& result, int code, const char* reason) {
    INFO(result.err);
    CHECK(result.code == code);
    CHECK(result.complains(reason));
  };
  refuses(run_program("unetd-train --quiet --data " + target().store + " --out " + out + tiny), 2,
          "loss.type");
  refuses(train(out, "--set loss.type=mse --set training.best_by=loss"), 2, "--target");
  refuses(train_values(out, "--set training.best_by=mean_iou"), 2, "training.best_by");
  const std::string infer =
      "unetd-infer --quiet --model " + model + " --scene " + workshop().scene + " --out " + out;
  refuses(run_program(infer + " --emit classes"), 2, "--emit values");
  refuses(run_program(infer + " --polygons " + out + ".gpkg"), 2, "--polygons");
  refuses(run_program("unetd-eval --quiet --model " + model + " --data " + workshop().store), 1,
          "--target");
  refuses(run_program("unetd-eval --quiet --model " + model + " --scene " + workshop().scene +
                      " --labels SCL"),
          2, "SCL");
  const std::string classes = workshop().at("classes_run");
  REQUIRE(train(classes, "--set training.steps=1").code == 0);
  refuses(
      run_program("unetd-eval --quiet --model " + classes + "/last.ckpt --data " + target().store),
      1, "--classes");
  refuses(run_program("unetd-infer --quiet --model " + classes +
                      "/last.ckpt --emit values --scene " + workshop().scene + " --out " + out),
          2, "--emit classes");
  CHECK_FALSE(std::filesystem::exists(out));
}
