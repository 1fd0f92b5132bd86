// The made-up scene: the same bytes from the same seed, files that say what they hold, and a land
// that obeys the sun.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/threads.h"
#include "io/gdal.h"
#include "io/gdal_map_writer.h"
#include "tests/support/temp_folder.h"
#include "tools/synth/scene.h"
#include "tools/synth/synth.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::synth {
namespace {

SynthOptions options(int64_t size, uint64_t seed) {
  SynthOptions o;
  o.size = size;
  o.seed = seed;
  return o;
}

std::array<double, 256> label_shares(const Strip& strip) {
  std::array<double, 256> share{};
  for (const uint8_t label : strip.labels) share[label] += 1.0 / strip.labels.size();
  return share;
}

// Correlation of a(x, y) and b(x + dx, y + dy) over where both are inside size x size.
template <class A, class B>
double correlation(int64_t size, int64_t dx, int64_t dy, A&& a, B&& b) {
  double n = 0, sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
  for (int64_t y = std::max<int64_t>(0, -dy); y < std::min(size, size - dy); y += 2)
    for (int64_t x = std::max<int64_t>(0, -dx); x < std::min(size, size - dx); x += 2) {
      const double u = a(x, y), v = b(x + dx, y + dy);
      n += 1, sa += u, sb += v, saa += u * u, sbb += v * v, sab += u * v;
    }
  return (sab - sa * sb / n) / std::sqrt((saa - sa * sa / n) * (sbb - sb * sb / n));
}

TEST_CASE("a synthetic scene has the same bytes on any number of threads", "[unit]") {
  const TempFolder folder;
  const int threads = thread_count();
  SynthOptions o = options(300, 5);
  o.folder = folder / "one";
  set_thread_count(1);
  generate(o);
  o.folder = folder / "three";
  set_thread_count(3);
  std::vector<double> shares;
  generate(o, [&](double share) { shares.push_back(share); });
  set_thread_count(threads);
  for (const char* file : {"scene.tif", "labels.tif", "dem.tif"})
    CHECK(read_file(folder / "one" / file) == read_file(folder / "three" / file));
  CHECK(std::is_sorted(shares.begin(), shares.end()));
  CHECK(shares.back() == 1);

  o.folder = folder / "other";
  o.seed = 6;
  generate(o);
  CHECK(read_file(folder / "one" / "scene.tif") != read_file(folder / "other" / "scene.tif"));
}

TEST_CASE("any rows of a synthetic scene can be rendered alone", "[unit]") {
  const Scene scene(options(128, 3));
  const Strip whole = scene.render(0, 128), part = scene.render(40, 30);
  for (int64_t b = 0; b < bands; ++b)
    CHECK(std::equal(part.dn.begin() + b * 30 * 128, part.dn.begin() + (b + 1) * 30 * 128,
                     whole.dn.begin() + (b * 128 + 40) * 128));
  CHECK(
      std::equal(part.labels.begin(), part.labels.end(), whole.labels.begin() + int64_t{40} * 128));
}

TEST_CASE("every class has its share of a synthetic scene", "[slow]") {
  for (const uint64_t seed : {1, 2, 3}) {
    const Scene scene(options(1024, seed));
    const auto share = label_shares(scene.render(0, 1024));
    INFO("seed " << seed);
    for (const Label label : {Label::background, Label::snow, Label::clouds, Label::water})
      CHECK(share[static_cast<size_t>(label)] >= 0.04);
    CHECK(share[static_cast<size_t>(Label::outside)] < 0.1);
  }
}

TEST_CASE("shares of zero leave a class out", "[unit]") {
  SynthOptions o = options(128, 1);
  o.clouds = o.snow = 0;
  o.swath_edge = false;
  const auto share = label_shares(Scene(o).render(0, o.size));
  CHECK(share[static_cast<size_t>(Label::snow)] == 0);
  CHECK(share[static_cast<size_t>(Label::clouds)] == 0);
  CHECK(share[static_cast<size_t>(Label::outside)] == 0);
}

TEST_CASE("a slanted swath edge cuts a corner off, in labels and bands alike", "[unit]") {
  const Scene scene(options(160, 2));
  const Strip strip = scene.render(0, 160);
  const auto outside = static_cast<uint8_t>(Label::outside);
  CHECK(strip.labels.front() == outside);
  CHECK(strip.labels[159] != outside);
  CHECK(strip.labels.back() != outside);
  int64_t disagreements = 0;
  for (size_t i = 0; i < strip.dn.size(); ++i)
    disagreements += (strip.dn[i] == 0) != (strip.labels[i % strip.labels.size()] == outside);
  CHECK(disagreements == 0);
}

TEST_CASE("the files of a synthetic scene say what they hold", "[unit]") {
  const TempFolder folder;
  SynthOptions o = options(96, 4);
  o.folder = folder / "scene";
  generate(o);
  const io::Dataset scene = io::Dataset::open(o.folder / "scene.tif");
  REQUIRE(scene.bands().size() == bands);
  for (size_t b = 0; b < bands; ++b) {
    CHECK(scene.bands()[b].description == band_names[b]);
    CHECK(scene.bands()[b].dtype == DType::u16);
    CHECK(scene.bands()[b].scale == Approx(1e-4));
    CHECK(scene.bands()[b].offset == Approx(-0.1));
    CHECK(scene.bands()[b].nodata == 0.0);
  }
  CHECK(io::crs_name(scene.grid().crs) == "EPSG:32632");
  CHECK((*scene.grid().geotransform)[1] == 10);

  const io::Dataset dem = io::Dataset::open(o.folder / "dem.tif");
  CHECK(io::same_grid(scene.grid(), dem.grid()));
  CHECK(dem.bands()[0].dtype == DType::f32);
  std::vector<float> height(size_t{96} * 96);
  const std::array<int, 1> first = {0};
  dem.read(dem.grid().whole(), first, DType::f32, height.data());
  CHECK(std::all_of(height.begin(), height.end(),
                    [](float h) { return std::isfinite(h) && std::abs(h) < 9000; }));

  const io::Dataset labels = io::Dataset::open(o.folder / "labels.tif");
  CHECK(io::same_grid(scene.grid(), labels.grid()));
  CHECK(labels.bands()[0].nodata == 255.0);
  const auto classes = io::map_info(o.folder / "labels.tif").classes;
  REQUIRE(classes.size() == 4);
  CHECK(classes[2].name == "clouds");
}

TEST_CASE("existing scenes stay unless overwritten, odd options are refused", "[unit]") {
  const TempFolder folder;
  SynthOptions o = options(64, 1);
  o.folder = folder.path();
  generate(o);
  CHECK_THROWS_AS(generate(o), UserError);
  o.overwrite = true;
  CHECK_NOTHROW(generate(o));
  o.size = 20;
  CHECK_THROWS_AS(generate(o), UsageError);
  o.size = 64;
  o.clouds = std::nan("");
  CHECK_THROWS_AS(generate(o), UsageError);
}

TEST_CASE("cloud shadows lie away from the sun", "[unit]") {
  SynthOptions o = options(512, 2);
  o.sun_azimuth = 135;  // south-east: shadows fall to the north-west
  o.swath_edge = false;
  const Scene scene(o);
  const Strip strip = scene.render(0, o.size);
  const auto cloudy = [&](int64_t x, int64_t y) {
    return strip.labels[y * o.size + x] == static_cast<uint8_t>(Label::clouds) ? 1.0 : 0.0;
  };
  const auto dark = [&](int64_t x, int64_t y) { return 1.0 - scene.cloud_light(x, y); };
  double away = 0, toward = 0;
  for (int64_t shift = 40; shift <= 160; shift += 20) {
    away = std::max(away, correlation(o.size, -shift, -shift, cloudy, dark));
    toward = std::max(toward, correlation(o.size, shift, shift, cloudy, dark));
  }
  CHECK(away > 0.4);
  CHECK(away > toward + 0.2);
}

// A pixel in the shadow of the land sees higher land on its way to the sun; a lit one does not.
TEST_CASE("mountains shade what lies behind them", "[unit]") {
  for (const double azimuth : {20.0, 110.0, 200.0, 290.0}) {
    SynthOptions o = options(256, 7);
    o.sun_azimuth = azimuth;
    o.sun_elevation = 20;
    const Scene scene(o);
    const double right = std::sin(azimuth * M_PI / 180), up = std::cos(azimuth * M_PI / 180);
    const double climb = 10 * std::tan(o.sun_elevation * M_PI / 180);
    int64_t shaded = 0, wrong = 0, seen = 0;
    for (int64_t y = 0; y < o.size; y += 3)
      for (int64_t x = 0; x < o.size; x += 3) {
        const float light = scene.terrain_light(x, y);
        bool blocked = false;
        for (int64_t step = 1;; ++step) {
          const int64_t sx = std::llround(x + right * step), sy = std::llround(y - up * step);
          if (sx < 0 || sy < 0 || sx >= o.size || sy >= o.size) break;
          const double beam = scene.dem()[y * o.size + x] + climb * step;
          blocked = blocked || scene.dem()[sy * o.size + sx] > beam + 3;
        }
        ++seen;
        shaded += blocked;
        wrong += blocked != (light < 0.5F);
      }
    INFO("azimuth " << azimuth);
    CHECK(shaded > seen / 50);
    CHECK(wrong < seen / 12);
  }
}

}  // namespace
}  // namespace unetd::synth
