// Normalisation of raw samples, and the checksum that guards them.
#include "engine/base/error.h"
#include "io/checksum.h"
#include "io/normalise.h"

#include <cmath>
#include <span>
#include <string>

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
