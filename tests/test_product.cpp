// Sentinel-2 products: every number from their metadata, every pixel where it belongs, and nothing
// that is missing or damaged taken for data.
#include "engine/base/error.h"
#include "io/product.h"
#include "io/scene.h"
#include "tests/support/products.h"
#include "tests/support/rasters.h"
#include "tests/support/temp_folder.h"

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

std::string refusal(const fs::path& path, const SceneOptions& options, bool read = false) {
  try {
    const Scene scene = Scene::open(path, options);
    if (read) scene.read(scene.grid().whole());
  } catch (const UserError& e) {
    const std::string text = e.what();
    CHECK(text.find('\n') == std::string::npos);
    return text;
  }
  FAIL(path << ": nothing was thrown");
  return "";
}

// Physical values, the bands one after the other for each pixel.
std::vector<double> physical(const Scene& scene) {
  const Raster raster = scene.read(scene.grid().whole());
  REQUIRE(scene.dtype() == DType::u16);
  std::vector<double> values;
  size_t i = 0;
  for (const uint16_t sample : raster.image.span<uint16_t>()) {
    const SceneBand& band = scene.bands()[i++ % scene.bands().size()];
    values.push_back(sample * band.scale + band.offset);
  }
  for (const uint8_t v : raster.valid.span<uint8_t>()) REQUIRE(v == 1);
  return values;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

void truncate(const fs::path& file, double share) {
  fs::resize_file(file, static_cast<uintmax_t>(static_cast<double>(fs::file_size(file)) * share));
}

TEST_CASE("product: both baselines give one reflectance, at every resolution", "[io][product]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path products = *data / "safe-cutdown-real-pixels";
  const TempFolder folder;
  const std::string level = GENERATE("L1C", "L2A");
  const fs::path before = product_in(products, level, level == "L1C" ? "N0209" : "N0214");
  const fs::path after = product_in(products, level, "N0509");
  const fs::path archive = zipped(after, folder);
  for (const int resolution : {10, 20, 60}) {
    CAPTURE(level, resolution);
    const Scene a = Scene::open(before, at(resolution)), b = Scene::open(after, at(resolution));
    CHECK(b.grid().width == 2640 / resolution);
    REQUIRE(a.bands().size() == b.bands().size());
    for (const SceneBand& band : a.bands()) CHECK(band.offset == 0);
    for (const SceneBand& band : b.bands()) CHECK(band.offset == Approx(-0.1));
    CHECK(largest_difference(physical(a), physical(b)) < 1e-9);
    CHECK(largest_difference(physical(b), physical(Scene::open(archive, at(resolution)))) == 0);
  }
}

TEST_CASE("product: bands are named, in the order of wavelength or as asked", "[io][product]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path product = product_in(*data / "safe-cutdown-real-pixels", "L1C", "N0509");
  const Scene all = Scene::open(product, at(10));
  REQUIRE(all.bands().size() == 13);
  CHECK(all.bands()[8].name == "B8A");
  CHECK(all.grid().crs == "EPSG:32643");

  // Each band of the scene is that of its own file.
  const Scene some = Scene::open(product, at(10, {"b8a", "B2"}));
  const Raster raster = some.read({8, 4, 40, 20});
  const Scene b02 = Scene::open(find_file(product, "_B02.jp2"));
  const Raster alone = b02.read({8, 4, 40, 20});
  for (size_t i = 0; i < 800; ++i)
    REQUIRE(raster.image.span<uint16_t>()[2 * i + 1] == alone.image.span<uint16_t>()[i]);
  const Scene b8a = Scene::open(find_file(product, "_B8A.jp2"));
  const Raster coarse = b8a.read({4, 2, 20, 10});
  for (size_t i = 0; i < 800; ++i)
    REQUIRE(raster.image.span<uint16_t>()[2 * i] ==
            coarse.image.span<uint16_t>()[i / 40 / 2 * 20 + i % 40 / 2]);

  // Coarser than the file: the mean of its pixels, rounded.
  SceneOptions averaged = at(20, {"B02"});
  averaged.resampling = Resampling::bilinear;
  const Raster mean = Scene::open(product, averaged).read({0, 0, 132, 132});
  const Raster fine = b02.read({0, 0, 264, 264});
  const auto pixel = [&](size_t y, size_t x) { return fine.image.span<uint16_t>()[y * 264 + x]; };
  for (const size_t y : {0, 77}) {
    const double sum =
        pixel(2 * y, 60) + pixel(2 * y, 61) + pixel(2 * y + 1, 60) + pixel(2 * y + 1, 61);
    CHECK(std::abs(mean.image.span<uint16_t>()[y * 132 + 30] - sum / 4) <= 0.5);
  }
  CHECK_THAT(refusal(product, at(10, {"B13"})), Contains("no band 'B13'") && Contains("B8A"));
  CHECK_THAT(refusal(product, at(30)), Contains("no grid of 30 m"));
}

TEST_CASE("product: level 2A's further layers are channels", "[io][product]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path product = product_in(*data / "safe-cutdown-real-pixels", "L2A", "N0509");
  const Scene scene = Scene::open(product, at(20, {"SCL", "AOT", "WVP", "B04"}));
  CHECK(scene.dtype() == DType::u16);
  CHECK(scene.bands()[1].scale == Approx(1e-3));
  const Raster raster = scene.read(scene.grid().whole());
  const auto image = raster.image.span<uint16_t>();
  for (size_t i = 0; i < image.size(); i += 4) REQUIRE((image[i] == 4 || image[i] == 5));
  // By default there are the spectral bands, of 20 m those that the product has there or coarser.
  const Scene spectral = Scene::open(product, at(20));
  CHECK(spectral.bands().size() == 11);
  for (const SceneBand& band : spectral.bands()) CHECK(band.name != "B08");
}

struct Skeleton {
  const char* folder;
  int level;
  const char* baseline;
  std::vector<std::string> tiles;
  const char* crs;
  double quantification, offset, nodata;
  int resolution;  // one that all default bands can be read at
};

TEST_CASE("product: old and new layouts say what their metadata say", "[io][product]") {
  const auto data = real_data();
  if (!data) return;
  const std::vector<Skeleton> skeletons = {
      {"fake_l1c", 1, "01.03", {"T32TQR", "T32TRQ"}, "EPSG:32632", 1000, 0, 1, 60},
      {"fake_l1c_safecompact", 1, "01.03", {"T30TXT"}, "EPSG:32632", 1000, 0, 1, 60},
      {"fake_l1c_processing_baseline_5_09", 1, "05.09", {"T34UCF"}, "EPSG:32634", 1e4, -1e3, 0, 60},
      {"fake_l2a", 2, "01.03", {"T32TQR"}, "EPSG:32632", 1000, 0, 1, 60},
      {"fake_l2a_MSIL2Ap", 2, "02.05", {"T34VFJ"}, "EPSG:32634", 1e4, 0, 0, 60},
      {"fake_l2a_MSIL2A", 2, "02.08", {"T34VFJ"}, "EPSG:32634", 1e4, 0, 0, 60},
      {"fake_l2a_processing_baseline_5_09", 2, "05.09", {"T34UCF"}, "EPSG:32634", 1e4, -1e3, 0, 60},
  };
  const TempFolder folder;
  for (const Skeleton& s : skeletons) {
    CAPTURE(s.folder);
    const fs::path safe = product_in(*data / "safe-gdal-autotest" / s.folder, ".SAFE");
    const auto metadata = find_product(safe);
    REQUIRE(metadata);
    CHECK(find_product(*metadata) == metadata);
    const Product product = read_product(*metadata);
    CHECK(product.level == s.level);
    CHECK(product.baseline == s.baseline);
    std::vector<std::string> tiles;
    for (const Granule& g : product.granules) tiles.push_back(g.tile);
    CHECK(tiles == s.tiles);
    CHECK(product.granules[0].grids.at(60).crs == s.crs);
    CHECK(product.bands.at("B8A").scale == Approx(1 / s.quantification));
    CHECK(product.bands.at("B8A").offset == Approx(s.offset / s.quantification));
    CHECK(product.bands.at("B8A").nodata == s.nodata);

    SceneOptions options = at(s.resolution, {"B01", "B09"});
    if (tiles.size() > 1) {
      CHECK_THAT(refusal(safe, options), Contains("2 tiles (T32TQR, T32TRQ)"));
      options.granule = tiles[1];
    }
    const Scene scene = Scene::open(safe, options),
                again = Scene::open(zipped(safe, folder), options);
    CHECK(scene.grid().width == 1830);
    CHECK(same_grid(scene.grid(), again.grid()));
    const Raster a = scene.read({100, 200, 8, 8}), b = again.read({100, 200, 8, 8});
    CHECK(std::ranges::equal(a.image.span<uint16_t>(), b.image.span<uint16_t>()));
  }
}

TEST_CASE("product: an incomplete product is read where it has data, and refused elsewhere",
          "[io][product]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path safe = product_in(*data / "t29unu-l2a-n0400-safe", ".SAFE");
  const Scene scene = Scene::open(safe, at(60));
  const Scene stack = Scene::open(*data / "t29unu-60m-geotiff" / "scene_11b_60m.tif");
  REQUIRE(scene.bands().size() == stack.bands().size());
  CHECK(same_grid(scene.grid(), stack.grid()));
  CHECK(scene.bands()[0].offset == Approx(-0.1));
  const Window window{300, 1000, 500, 300};
  const Raster a = scene.read(window), b = stack.read(window);
  CHECK(std::ranges::equal(a.image.span<uint16_t>(), b.image.span<uint16_t>()));
  CHECK(std::ranges::equal(a.valid.span<uint8_t>(), b.valid.span<uint8_t>()));
  CHECK_THAT(refusal(safe, {}), Contains("T29UNU_20221005T115411_B02_10m.jp2") &&
                                    Contains("B08_10m.jp2") && Contains("--resolution"));
  // B08 at 60 m would be averaged from a file that is not there.
  CHECK_THAT(refusal(safe, at(60, {"B08"})), Contains("B08_10m.jp2"));
}

TEST_CASE("product: damage is an error, never a zero", "[io][product]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path whole = product_in(*data / "safe-cutdown-real-pixels", "L1C", "N0509");
  const TempFolder folder;
  const double share = GENERATE(0.0, 0.3, 0.6, 0.9);
  CAPTURE(share);
  SECTION("main metadata") {
    const fs::path copy = copied(whole, folder);
    truncate(copy / "MTD_MSIL1C.xml", share);
    CHECK_THAT(refusal(copy, at(60)), Contains("MTD_MSIL1C.xml"));
  }
  SECTION("tile metadata") {
    const fs::path copy = copied(whole, folder);
    truncate(find_file(copy, "MTD_TL.xml"), share);
    CHECK_THAT(refusal(copy, at(60)), Contains("MTD_TL.xml"));
  }
  SECTION("image") {
    const fs::path copy = copied(whole, folder), image = find_file(copy, "_B03.jp2");
    truncate(image, share);
    CHECK_THAT(refusal(copy, at(10), true), Contains("_B03.jp2"));
  }
  SECTION("archive") {
    const fs::path archive = zipped(whole, folder);
    truncate(archive, share);
    CHECK_THAT(refusal(archive, at(10), true), Contains(".SAFE.zip"));
  }
}

TEST_CASE("product: metadata that contradict are refused by name", "[io][product]") {
  const auto data = real_data();
  if (!data) return;
  const fs::path whole = product_in(*data / "safe-cutdown-real-pixels", "L1C", "N0509");
  const TempFolder folder;
  const fs::path copy = copied(whole, folder);
  const auto replace = [&](const fs::path& file, const std::string& from, const std::string& to) {
    std::ifstream in(file);
    std::string text{std::istreambuf_iterator<char>(in), {}};
    const size_t place = text.find(from);
    REQUIRE(place != std::string::npos);
    std::ofstream(file) << text.replace(place, from.size(), to);
  };
  const fs::path main = copy / "MTD_MSIL1C.xml", tile = find_file(copy, "MTD_TL.xml");
  SECTION("a quantification value of zero") {
    replace(main, ">10000</QUANT", ">0</QUANT");
    CHECK_THAT(refusal(copy, at(60)), Contains("<QUANTIFICATION_VALUE> is 0"));
  }
  SECTION("an offset that is no number") {
    replace(main, "band_id=\"3\">-1000<", "band_id=\"3\">minus<");
    CHECK_THAT(refusal(copy, at(60)), Contains("<RADIO_ADD_OFFSET> is 'minus'"));
  }
  SECTION("an offset for a band that does not exist") {
    replace(main, "<RADIO_ADD_OFFSET band_id=\"3\"", "<RADIO_ADD_OFFSET band_id=\"31\"");
    CHECK_THAT(refusal(copy, at(60)), Contains("'31'"));
  }
  SECTION("a size that the images do not have") {
    replace(tile, "<NROWS>44<", "<NROWS>45<");
    CHECK_THAT(refusal(copy, at(60)), Contains("_B01.jp2") && Contains("44"));
  }
  SECTION("another kind of product") {
    replace(main, "S2MSI1C<", "S2MSI1B<");
    CHECK_THAT(refusal(copy, at(60)), Contains("S2MSI1B"));
  }
  SECTION("no metadata at all") {
    fs::remove(main);
    CHECK_THAT(refusal(copy, at(60)), Contains("holds no metadata of a Sentinel-2 product"));
  }
}

}  // namespace
}  // namespace unetd::io
