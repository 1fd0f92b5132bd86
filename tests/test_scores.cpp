// Scores at a threshold and calibration, by hand, and how a run prints them.
#include "tools/epoch_text.h"
#include "tools/scores_json.h"
#include "unet/metrics.h"

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace unetd {
namespace {

const std::vector<io::ClassInfo> classes{{0, "land", "#000000"}, {1, "sea", "#0000ff"}};

// Ten pixels: 6 of land, of which 1 is taken for sea, and 4 of sea. At the threshold land is
// claimed of 5 pixels and sea of 2, all of them rightly but one of land.
Tallies ten_pixels() {
  ProbabilityTally tally{.threshold = 0.75, .claimed = {5, 2}, .hit = {4, 2}};
  tally.bins = {{0, 0, 0}, {4, 2, 0.6 * 4}, {6, 6, 0.9 * 6}};
  return {Confusion(2, {5, 1, 0, 4}), tally};
}

TEST_CASE("scores at a threshold are each class's own", "[scores]") {
  const Tallies tallies = ten_pixels();
  const auto scores = scores_at_threshold(*tallies.probabilities, tallies.confusion);
  REQUIRE(scores.size() == 2);
  CHECK(scores[0].iou == Approx(4. / 7));  // 4 hits, 1 claim too many, 2 missed
  CHECK(scores[0].dice == Approx(8. / 11));
  CHECK(scores[0].precision == Approx(4. / 5));
  CHECK(scores[0].recall == Approx(4. / 6));
  CHECK(scores[0].accuracy == Approx(0.7));
  CHECK(scores[0].pixels == 6);
  CHECK(scores[1].iou == Approx(2. / 4));
  CHECK(scores[1].precision == 1);
  // A class that is nowhere and never claimed has no IoU.
  const ProbabilityTally none{.claimed = {1, 0}, .hit = {1, 0}};
  CHECK(std::isnan(scores_at_threshold(none, Confusion(2, {1, 0, 0, 0}))[1].iou));
}

TEST_CASE("the calibration error is the mean distance of confidence and accuracy", "[scores]") {
  CHECK(calibration_error(*ten_pixels().probabilities) ==
        Approx((4 * std::abs(0.6 - 0.5) + 6 * std::abs(0.9 - 1.0)) / 10));
  CHECK(std::isnan(calibration_error(ProbabilityTally{.bins = {{0, 0, 0}}})));
}

TEST_CASE("scores as JSON hold thresholds and calibration where there are any", "[scores]") {
  const auto json = to_json(ten_pixels(), classes);
  CHECK(json["classes"][0]["iou"] == Approx(5. / 6));
  CHECK(json["at_threshold"]["threshold"] == 0.75);
  CHECK(json["at_threshold"]["classes"][1]["iou"] == Approx(0.5));
  CHECK(json["calibration"]["bins"][1]["accuracy"] == Approx(0.5));
  CHECK(json["calibration"]["bins"][0]["accuracy"].is_null());
  const auto plain = to_json(Tallies{Confusion(2, {5, 1, 0, 4}), {}}, classes);
  CHECK(plain["classes"] == json["classes"]);
  CHECK_FALSE(plain.contains("at_threshold"));
  CHECK_FALSE(plain.contains("calibration"));
}

TEST_CASE("an epoch is printed in the founding system's form, then as a table", "[scores]") {
  const std::string text = epoch_text({30, 0.04946, 0.040753, 2, 30}, ten_pixels(), classes);
  std::istringstream lines(text);
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);) all.push_back(line);
  REQUIRE(all.size() == 13);
  CHECK(all[0] == "Epoch: 30, train_loss: 0.049460, test_loss: 0.040753, EStop: 2/30");
  CHECK(all[1] == "Metrics for validation of epoch:  30 (probability above 0.75)");
  CHECK(all[2] == " - pixel_accuracy___land: 0.7000");
  CHECK(all[3] == " - union_over_inter_land: 0.5714");
  CHECK(all[4] == " - dice_coefficient_land: 0.7273");
  CHECK(all[6] == " - union_over_inter_sea: 0.5000");
  CHECK(all[8] == "Most probable class:");
  CHECK(all[10].find("0.833") != std::string::npos);
  // Between two epochs, and after a resumption at once.
  const std::string odd = epoch_text({1.25, {}, 0.5, 0, 0}, ten_pixels(), classes);
  CHECK(odd.starts_with("Epoch: 1.25, train_loss: -, test_loss: 0.500000, EStop: 0/0\n"));
}

}  // namespace
}  // namespace unetd
