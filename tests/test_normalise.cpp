// Normalisation of raw samples, and the checksum that guards them.
#include "engine/base/error.h"
#include "io/checksum.h"
#include "io/normalise.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

TEST_CASE("checksum: CRC-32 and CRC-32C of the standard test text", "[io]") {
  const std::string text = "123456789";
  const auto bytes = std::as_bytes(std::span(text));
  CHECK(crc32(bytes) == 0xCBF43926U);
  CHECK(crc32(bytes.subspan(4), crc32(bytes.first(4))) == 0xCBF43926U);
  CHECK(crc32c(bytes) == 0xE3069283U);
  CHECK(crc32c(bytes.subspan(4), crc32c(bytes.first(4))) == 0xE3069283U);
}

TEST_CASE("normalisation: each method does what its name says", "[io]") {
  using Method = Normalisation::Method;
  BandStatistics s;
  s.count = 100;
  s.mean = 2000;
  s.stddev = 500;
  for (size_t i = 0; i < s.percents.size(); ++i) s.percentiles[i] = 1000 + 10 * s.percents[i];
  const SceneBand plain{"B02", {}, 1, 0}, calibrated{"B02", {}, 1e-4, -0.1};
  const auto apply = [&](Method method, DType dtype, const SceneBand& band, auto value) {
    const Normalisation n = Normalisation::fit(method, dtype, {&band, 1}, {&s, 1});
    const Normalisation copy = Normalisation::from_json(n.to_json());
    CHECK(copy == n);
    return normalised(static_cast<float>(value), copy.constants().front());
  };
  CHECK(apply(Method::none, DType::u16, calibrated, uint16_t{1234}) == 1234);
  CHECK(apply(Method::scale, DType::u16, plain, uint16_t{5000}) == Approx(0.5));
  CHECK(apply(Method::scale, DType::i16, plain, int16_t{-100}) == Approx(-0.01));
  CHECK(apply(Method::scale, DType::u8, plain, uint8_t{51}) == Approx(0.2));
  CHECK(apply(Method::scale, DType::f32, plain, 0.3F) == Approx(0.3));
  CHECK(apply(Method::scale, DType::u16, calibrated, uint16_t{1500}) == Approx(0.05));
  CHECK(apply(Method::scale, DType::u16, SceneBand{"B02", {}, 1, -1000}, uint16_t{1500}) ==
        Approx(0.05));
  CHECK(apply(Method::zscore, DType::u16, plain, uint16_t{3000}) == Approx(2));
  CHECK(apply(Method::percentile, DType::u16, plain, uint16_t{1010}) == Approx(0));
  CHECK(apply(Method::percentile, DType::u16, plain, uint16_t{1500}) == Approx(0.5));
  CHECK(apply(Method::percentile, DType::u16, plain, uint16_t{9000}) == 1);
  s.count = 0;
  CHECK_THROWS_AS(Normalisation::fit(Method::zscore, DType::u16, {&plain, 1}, {&s, 1}), UserError);
  CHECK_THROWS_AS(Normalisation::from_json("{}"), UserError);
  CHECK_THROWS_AS(parse_normalisation("minmax"), UsageError);
}

// The transformation in double, step by step as its authors give it.
double dynamic_world(double v, double p30, double p70, double mean) {
  const double low = -1.7346, high = 1.7346;  // logits of 0.15 and 0.85
  const auto transformed = [&](double digital) {
    const double x = digital > 0 ? std::log10(digital) : 0;
    const double y =
        (x - std::log10(p30)) * (high - low) / (std::log10(p70) - std::log10(p30)) + low;
    return 1 / (1 + std::exp(-y));
  };
  return transformed(v) - transformed(mean);
}

TEST_CASE("normalisation: dynamic_world equals its formula at every digital number", "[io]") {
  using Method = Normalisation::Method;
  constexpr auto sentinel2 = Normalisation::Constants::sentinel2;
  const std::vector<std::string> names = {"B01", "B02", "B03", "B04", "B05", "B06", "B07",
                                          "B08", "B8A", "B09", "B10", "B11", "B12"};
  const double p30[] = {1390, 1032, 759, 544, 633, 900, 974, 907, 981, 470, 16, 236, 151};
  const double p70[] = {9084,  9637,  9415, 10306, 10437, 10482, 10377,
                        10113, 10184, 5892, 504,   4044,  3295};
  const double mean[] = {3747, 3561, 3307, 3407, 3596, 4049, 4203,
                         4089, 4268, 2270, 138,  1831, 1332};
  for (size_t b = 0; b < names.size(); ++b) {
    CAPTURE(names[b]);
    const BandStatistics none;
    // Digital numbers with no offset, with one, and reflectances.
    const SceneBand plain{names[b], {}, 1, 0}, shifted{names[b], {}, 1e-4, -0.1};
    const auto constants = [&](const SceneBand& band, DType dtype) {
      const Normalisation n =
          Normalisation::fit(Method::dynamic_world, dtype, {&band, 1}, {&none, 1}, sentinel2);
      CHECK(Normalisation::from_json(n.to_json()) == n);
      return n.constants().front();
    };
    const BandConstants of_plain = constants(plain, DType::u16);
    const BandConstants of_shifted = constants(shifted, DType::u16);
    double worst = 0;
    for (int digital = 0; digital < 65536; ++digital) {
      const double wanted = dynamic_world(digital, p30[b], p70[b], mean[b]);
      const auto x = static_cast<float>(digital);
      const float y = normalised(x, of_plain);
      REQUIRE(std::abs(y) <= 1);
      worst = std::max(worst, std::abs(y - wanted));
      worst = std::max(worst, std::abs(normalised(x, of_shifted) -
                                       dynamic_world(digital - 1000, p30[b], p70[b], mean[b])));
    }
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("normalisation: curves from a store, and bands that have none", "[io]") {
  using Method = Normalisation::Method;
  constexpr auto sentinel2 = Normalisation::Constants::sentinel2;
  BandStatistics s;
  s.count = 100;
  s.mean = 3000;
  s.stddev = 500;
  for (size_t i = 0; i < s.percents.size(); ++i) s.percentiles[i] = 1000 + 40 * s.percents[i];
  const SceneBand band{"B02", {}, 1e-4, -0.1};  // digital number = stored - 1000
  const auto apply = [&](const SceneBand& of, Method method, Normalisation::Constants constants,
                         float x) {
    return normalised(
        x,
        Normalisation::fit(method, DType::u16, {&of, 1}, {&s, 1}, constants).constants().front());
  };
  const auto store = Normalisation::Constants::store;
  for (const float x : {900.F, 1001.F, 2200.F, 3000.F, 3800.F, 9000.F})
    CHECK(apply(band, Method::dynamic_world, store, x) ==
          Approx(dynamic_world(x - 1000.0, 1200, 2800, 2000)).margin(1e-6));
  // A terrain model beside the bands, and a raster that nobody knows.
  CHECK(apply({"DEM", {}, 1, 0}, Method::dynamic_world, sentinel2, 3819.28F) == Approx(0.5));
  CHECK(apply({"canopy", {}, 1, 0}, Method::dynamic_world, sentinel2, 4000) == Approx(2));
  CHECK(apply(band, Method::sigma_clip, store, 3000) == Approx(127.5));
  CHECK(apply(band, Method::sigma_clip, store, 9000) == 255);
  CHECK(apply(band, Method::sigma_clip, store, 1000) == 0);
  CHECK(apply(band, Method::legacy, store, 3000) == Approx(0.2));
  s.percentiles.fill(2500);  // never varies
  CHECK(apply(band, Method::dynamic_world, store, 2500) == 0);
}

TEST_CASE("normalisation: the same ground gives the same numbers, however it is stored", "[io]") {
  using Method = Normalisation::Method;
  BandStatistics s;
  s.count = 9;
  s.mean = 1800;
  s.stddev = 320;
  const SceneBand old_baseline{"B02", {}, 1e-4, 0}, new_baseline{"B02", {}, 1e-4, -0.1};
  for (const Method method : {Method::scale, Method::zscore}) {
    const Normalisation n = Normalisation::fit(method, DType::u16, {&old_baseline, 1}, {&s, 1});
    const Normalisation other = n.for_scene({&new_baseline, 1});
    const float before = normalised(2345, n.constants().front());
    const float after = normalised(3345, other.constants().front());
    CHECK(before == Approx(after).epsilon(1e-6));
  }
}

TEST_CASE("normalisation: values are clipped where there is a clip, and only there", "[io]") {
  Normalisation n;
  n.shift = {5, 7};
  n.scale = {0.5, -2};
  const std::vector<BandConstants> free = n.constants();
  REQUIRE(free.size() == 2);
  CHECK(normalised(1e30F, free[0]) == (1e30F - 5) / 2);
  CHECK(normalised(-1e30F, free[1]) == 2e30F);
  CHECK(normalised(INFINITY, free[0]) == INFINITY);
  CHECK(std::isnan(normalised(NAN, free[0])));
  n.clip = {-1, 3};
  const std::vector<BandConstants> clipped = n.constants();
  CHECK(normalised(6, clipped[0]) == 0.5F);
  CHECK(normalised(100, clipped[0]) == 3);
  CHECK(normalised(100, clipped[1]) == -1);
  CHECK(std::isnan(normalised(NAN, clipped[1])));
}

}  // namespace
}  // namespace unetd::io
