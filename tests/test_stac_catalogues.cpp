// STAC items as the catalogues of Sentinel-2 data write them, pointing to local files: each band is
// found by its name, with its calibration, its resolution and the item's date.
#include "engine/base/file.h"
#include "io/scene.h"
#include "tests/support/rasters.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"

#include <array>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;
using nlohmann::ordered_json;

struct MsiBand {
  const char* name;
  const char* key;     // Earth Search's
  const char* common;  // of the `eo` extension
  int resolution;
};
// Level 2A's, in the order of wavelength.
constexpr std::array<MsiBand, 12> msi = {{{"B01", "coastal", "coastal", 60},
                                          {"B02", "blue", "blue", 10},
                                          {"B03", "green", "green", 10},
                                          {"B04", "red", "red", 10},
                                          {"B05", "rededge1", "rededge", 20},
                                          {"B06", "rededge2", "rededge", 20},
                                          {"B07", "rededge3", "rededge", 20},
                                          {"B08", "nir", "nir", 10},
                                          {"B8A", "nir08", "nir08", 20},
                                          {"B09", "nir09", "nir09", 60},
                                          {"B11", "swir16", "swir16", 20},
                                          {"B12", "swir22", "swir22", 20}}};
constexpr const char* cog = "image/tiff; application=geotiff; profile=cloud-optimized";

// What every pixel of a band is.
int value_of(size_t band) { return 100 * static_cast<int>(band + 1); }

class Catalogue {
 public:
  Catalogue() {
    for (size_t i = 0; i < msi.size(); ++i) {
      write<uint16_t>(msi[i].name, msi[i].resolution, value_of(i));
      if (msi[i].resolution == 10) write<uint16_t>(msi[i].name, 20, value_of(i) + 1);
    }
    for (const char* name : {"SCL", "CLD", "SNW"}) write<uint8_t>(name, 20, 4);
    write<uint16_t>("AOT", 10, 77);
  }
  std::string file(const std::string& band, int resolution) const {
    return str("./", band, '_', resolution, "m.tif");
  }
  fs::path save(const ordered_json& item) const {
    write_file(folder_ / "item.json", item.dump(1));
    return folder_ / "item.json";
  }
  fs::path operator/(const std::string& name) const { return folder_ / name; }

 private:
  template <class T>
  void write(const std::string& band, int resolution, int value) const {
    write_raster<T>(folder_ / file(band, resolution),
                    test_grid(120 / resolution, 120 / resolution, resolution), {{""}},
                    [&](int64_t, int64_t, int64_t) { return value; });
  }
  TempFolder folder_;
};

ordered_json item_with(const ordered_json& properties) {
  return {{"type", "Feature"},
          {"stac_version", "1.0.0"},
          {"id", "a_scene"},
          {"geometry", nullptr},
          {"properties", properties},
          {"links", ordered_json::array()},
          {"assets", ordered_json::object()}};
}

ordered_json asset(const std::string& href, const char* type, int resolution, const char* role) {
  const int pixels = 120 / resolution;
  return {{"href", href},
          {"type", type},
          {"gsd", resolution},
          {"proj:shape", {pixels, pixels}},
          {"proj:transform", {resolution, 0, 500000, 0, -resolution, 5900040}},
          {"roles", {"data", role}}};
}

ordered_json three_bands() {
  return {{{"name", "red"}, {"common_name", "red"}},
          {{"name", "green"}, {"common_name", "green"}},
          {{"name", "blue"}, {"common_name", "blue"}}};
}

// Colours for names; calibration in `raster:bands`; the originals beside, in a bucket.
ordered_json earth_search_item(const Catalogue& files, const ordered_json& more) {
  ordered_json properties = {
      {"platform", "sentinel-2b"}, {"constellation", "sentinel-2"},
      {"instruments", {"msi"}},    {"datetime", "2022-10-05T11:43:23.617000Z"},
      {"proj:epsg", 32629},        {"s2:processing_baseline", "04.00"}};
  properties.update(more);
  ordered_json item = item_with(properties);
  ordered_json& assets = item["assets"];
  const ordered_json numbers = {{{"nodata", 0},
                                 {"data_type", "uint16"},
                                 {"bits_per_sample", 15},
                                 {"scale", 0.0001},
                                 {"offset", -0.1}}};
  for (auto band = msi.rbegin(); band != msi.rend(); ++band) {  // by no order that means something
    ordered_json& tif = assets[band->key] =
        asset(files.file(band->name, band->resolution), cog, band->resolution, "reflectance");
    tif["eo:bands"] = {{{"name", band->key}, {"common_name", band->common}}};
    tif["raster:bands"] = numbers;
    ordered_json& jp2 = assets[std::string(band->key) + "-jp2"] = tif;
    jp2["href"] = str("s3://bucket/tiles/29/U/NU/R", band->resolution, "m/", band->name, ".jp2");
    jp2["type"] = "image/jp2";
  }
  assets["visual"] = asset("./TCI.tif", cog, 10, "visual");
  assets["visual"]["eo:bands"] = three_bands();
  assets["scl"] = asset(files.file("SCL", 20), cog, 20, "reflectance");
  assets["scl"]["raster:bands"] = {{{"nodata", 0}, {"data_type", "uint8"}}};
  for (const auto& [key, name] : {std::pair{"cloud", "CLD"}, {"snow", "SNW"}}) {
    assets[key] = asset(files.file(name, 20), cog, 20, key);
    assets[key]["raster:bands"] = {{{"nodata", 0}, {"data_type", "uint8"}}};
  }
  assets["aot"] = asset(files.file("AOT", 10), cog, 10, "reflectance");
  assets["aot"]["raster:bands"] = {{{"nodata", 0}, {"scale", 0.001}, {"offset", 0}}};
  assets["thumbnail"] = {
      {"href", "https://x.org/p.jpg"}, {"type", "image/jpeg"}, {"roles", {"thumbnail"}}};
  assets["granule_metadata"] = {
      {"href", "./metadata.xml"}, {"type", "application/xml"}, {"roles", {"metadata"}}};
  return item;
}

// MSI's names; no calibration, it stands in the product's metadata, which are an asset.
ordered_json planetary_computer_item(const Catalogue& files) {
  ordered_json item = item_with({{"platform", "Sentinel-2B"},
                                 {"constellation", "Sentinel 2"},
                                 {"instruments", {"msi"}},
                                 {"datetime", "2022-10-05T11:33:19.024000Z"},
                                 {"s2:processing_baseline", "04.00"}});
  ordered_json& assets = item["assets"];
  assets["AOT"] = asset(files.file("AOT", 10), cog, 10, "data");
  for (const MsiBand& band : msi) {
    ordered_json& tif = assets[band.name] =
        asset(files.file(band.name, band.resolution), cog, band.resolution, "data");
    ordered_json named = {{"name", band.name}, {"description", "a band"}};
    if (std::string(band.name) == "B8A") named["common_name"] = "rededge";
    if (std::string(band.name) != "B8A" && std::string(band.name) != "B09")
      named["common_name"] = band.common;
    tif["eo:bands"] = {named};
  }
  assets["SCL"] = asset(files.file("SCL", 20), cog, 20, "data");
  assets["visual"] = asset("./TCI.tif", cog, 10, "data");
  assets["visual"]["eo:bands"] = three_bands();
  assets["preview"] = {{"href", "./PVI.tif"}, {"type", cog}, {"roles", {"thumbnail"}}};
  assets["product-metadata"] = {
      {"href", "./MTD_MSIL2A.xml"}, {"type", "application/xml"}, {"roles", {"metadata"}}};
  assets["tilejson"] = {{"href", "https://x.org/tilejson.json?item=a_scene"},
                        {"type", "application/json"},
                        {"roles", {"tiles"}}};
  return item;
}

void write_product_metadata(const Catalogue& files) {
  std::string text =
      "<L2A><General_Info><Product_Info><PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>"
      "<PROCESSING_BASELINE>04.00</PROCESSING_BASELINE></Product_Info>"
      "<BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE>"
      "<AOT_QUANTIFICATION_VALUE>1000.0</AOT_QUANTIFICATION_VALUE>";
  for (int band = 0; band < 13; ++band)
    text += str("<BOA_ADD_OFFSET band_id=\"", band, "\">-1000</BOA_ADD_OFFSET>");
  write_file(files / "MTD_MSIL2A.xml", text + "</General_Info></L2A>");
}

// STAC 1.1: `bands`, and calibration at the asset itself; a band at every resolution it has.
ordered_json copernicus_item(const Catalogue& files) {
  ordered_json item = item_with({{"platform", "sentinel-2b"},
                                 {"constellation", "sentinel-2"},
                                 {"datetime", "2022-10-05T11:33:19.024Z"},
                                 {"start_datetime", "2022-10-05T11:33:19.024Z"},
                                 {"end_datetime", "2022-10-05T11:33:19.024Z"}});
  item["stac_version"] = "1.1.0";
  ordered_json& assets = item["assets"];
  for (const MsiBand& band : msi)
    for (const int resolution : {60, 20, 10}) {
      if (!fs::exists(files / files.file(band.name, resolution))) continue;
      ordered_json& tif = assets[str(band.name, '_', resolution, 'm')] =
          asset(files.file(band.name, resolution), cog, resolution, "reflectance");
      tif["bands"] = {{{"name", band.name}, {"eo:common_name", band.common}}};
      tif["nodata"] = 0;
      tif["data_type"] = "uint16";
      tif["raster:scale"] = 0.0001;
      tif["raster:offset"] = -0.1;
    }
  for (const char* name : {"SCL", "CLD"}) {
    assets[str(name, "_20m")] = asset(files.file(name, 20), cog, 20, "data");
    assets[str(name, "_20m")]["nodata"] = 0;
  }
  assets["TCI_10m"] = asset("./TCI.tif", cog, 10, "visual");
  assets["TCI_10m"]["bands"] = three_bands();
  return item;
}

void check_all_bands(const Scene& scene, double offset) {
  CHECK(same_grid(scene.grid(), test_grid(12, 12)));
  CHECK(scene.date() == "2022-10-05");
  CHECK(scene.dtype() == DType::u16);
  REQUIRE(scene.bands().size() == msi.size());
  const Raster raster = scene.read(scene.grid().whole());
  for (size_t b = 0; b < msi.size(); ++b) {
    const SceneBand& band = scene.bands()[b];
    CHECK(band.name == msi[b].name);
    CHECK(band.scale == Approx(1e-4));
    CHECK(band.offset == Approx(offset));
    CHECK(band.nodata == 0.0);
    for (size_t i = 0; i < 144; ++i)
      REQUIRE(raster.image.span<uint16_t>()[i * msi.size() + b] == value_of(b));
  }
}

TEST_CASE("stac: an item as Earth Search has them", "[io][stac]") {
  const Catalogue files;
  check_all_bands(Scene::open(files.save(earth_search_item(files, ordered_json::object()))), -0.1);
  const std::string applied = "earthsearch:boa_offset_applied";
  check_all_bands(Scene::open(files.save(earth_search_item(files, {{applied, false}}))), -0.1);
  // The offset has been taken off these files' samples, whatever their bands still state.
  const fs::path path = files.save(earth_search_item(files, {{applied, true}}));
  check_all_bands(Scene::open(path), 0);
  SceneOptions others;
  others.bands = {"scl", "CLD", "SNW", "AOT"};
  const Scene scene = Scene::open(path, others);
  CHECK(scene.bands()[0].name == "SCL");
  CHECK(scene.bands()[0].nodata == 0.0);
  CHECK(scene.bands()[1].name == "CLD");
  CHECK_FALSE(scene.bands()[1].nodata.has_value());  // no cloud is no lack of data
  CHECK_FALSE(scene.bands()[2].nodata.has_value());
  CHECK(scene.bands()[3].scale == Approx(1e-3));
  // A scale that only the file states stands where the offset was taken off.
  ordered_json bare = earth_search_item(files, {{applied, true}});
  bare["assets"]["blue"].erase("raster:bands");
  write_raster<uint16_t>(files / files.file("B02", 10), test_grid(12, 12), {{"", 1e-4, -0.1, 0.0}},
                         [](int64_t, int64_t, int64_t) { return value_of(1); });
  check_all_bands(Scene::open(files.save(bare)), 0);
  // Nor does what a file of probabilities calls nodata count.
  write_raster<uint8_t>(files / files.file("CLD", 20), test_grid(6, 6, 20), {{"", 1, 0, 0.0}},
                        [](int64_t, int64_t, int64_t) { return 0; });
  CHECK_FALSE(Scene::open(path, others).bands()[1].nodata.has_value());
  // Where the item states all, the product's metadata need not be there.
  bare["assets"]["product_metadata"] = {{"href", "./absent.xml"}, {"type", "application/xml"}};
  check_all_bands(Scene::open(files.save(bare)), 0);
  // An original beside is ESA's file, from which nothing was taken.
  ordered_json item = earth_search_item(files, {{applied, true}});
  item["assets"]["blue"]["href"] = "https://x.org/B02.tif";
  item["assets"]["blue-jp2"]["href"] = files.file("B02", 10);
  CHECK(Scene::open(files.save(item)).bands()[1].offset == Approx(-0.1));
}

TEST_CASE("stac: an item as the Planetary Computer has them", "[io][stac]") {
  const Catalogue files;
  const fs::path path = files.save(planetary_computer_item(files));
  CHECK_THAT(refusal([&] { Scene::open(path); }), Contains("MTD_MSIL2A.xml"));
  write_product_metadata(files);
  check_all_bands(Scene::open(path), -0.1);
  SceneOptions others;
  others.bands = {"SCL", "AOT"};
  CHECK(Scene::open(path, others).bands()[0].scale == 1);
  CHECK(Scene::open(path, others).bands()[1].scale == Approx(1e-3));
  CHECK(Scene::open(path).bands()[1].saturated == 65535.0);
  others.offset = 5;
  CHECK(Scene::open(path, others).bands()[1].offset == 5);
  // Where the metadata are out of reach, samples are what they are.
  ordered_json item = planetary_computer_item(files);
  item["assets"]["product-metadata"]["href"] = "https://x.org/MTD_MSIL2A.xml";
  const Scene bare = Scene::open(files.save(item));
  CHECK(bare.bands()[1].scale == 1);
  CHECK(bare.bands()[1].offset == 0);
  CHECK_THAT(describe(bare), Contains("value = sample * 1 + 0; sensed 2022-10-05"));
  // Files that state a calibration of their own are believed.
  write_raster<uint16_t>(files / files.file("B02", 10), test_grid(12, 12), {{"", 1e-3, 0.5, 3.0}},
                         [](int64_t, int64_t, int64_t) { return 9; });
  const SceneBand own = Scene::open(path).bands()[1];
  CHECK(own.scale == Approx(1e-3));
  CHECK(own.offset == 0.5);
  CHECK(own.nodata == 3.0);
}

TEST_CASE("stac: an item of version 1.1, as Copernicus has them", "[io][stac]") {
  const Catalogue files;
  const fs::path path = files.save(copernicus_item(files));
  check_all_bands(Scene::open(path), -0.1);
  SceneOptions coarse;
  coarse.resolution = 20;
  coarse.bands = {"B02", "B11", "SCL", "CLD"};
  const Scene scene = Scene::open(path, coarse);
  CHECK(same_grid(scene.grid(), test_grid(6, 6, 20)));
  CHECK(scene.bands()[2].nodata == 0.0);
  CHECK_FALSE(scene.bands()[3].nodata.has_value());
  const auto image = scene.read(scene.grid().whole());
  CHECK(image.image.span<uint16_t>()[0] == value_of(1) + 1);  // its own file of 20 m
  CHECK(image.image.span<uint16_t>()[2] == 4);
}

TEST_CASE("stac: an item's date is its datetime, or the day that its span lies in", "[io][stac]") {
  const Catalogue files;
  const auto date = [&](const ordered_json& properties) {
    ordered_json item = item_with({{"constellation", "sentinel-2"}});
    item["properties"].update(properties);
    item["assets"]["blue"] = asset(files.file("B02", 10), cog, 10, "data");
    const fs::path path = files.save(item);
    return Scene::open(path).date();
  };
  CHECK(date({{"datetime", "2021-02-03T23:59:59Z"}}) == "2021-02-03");
  CHECK(date(ordered_json::object()).empty());
  CHECK(date({{"datetime", nullptr},
              {"start_datetime", "2021-02-03T10:00:00Z"},
              {"end_datetime", "2021-02-03T10:20:00.5+00:00"}}) == "2021-02-03");
  CHECK(date({{"datetime", nullptr},
              {"start_datetime", "2021-02-03T10:00:00Z"},
              {"end_datetime", "2021-02-04T10:00:00Z"}})
            .empty());
  CHECK_THAT(refusal([&] {
               date({{"datetime", "2021-02-30T10:00:00Z"}});
             }),
             Contains("item.json") && Contains("2021-02-30"));
  CHECK_THAT(refusal([&] {
               date({{"datetime", "2021-02-03T00:10:00+02:00"}});
             }),
             Contains("in UTC"));
}

}  // namespace
}  // namespace unetd::io
