// Files that were cut short or overwritten: an error that names the file, or the pixels that the
// whole file has. Nothing that was lost is taken for data.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "io/gdal_jp2.h"
#include "io/labels.h"
#include "io/scene.h"
#include "tests/support/products.h"
#include "tests/support/rasters.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

bool equal(const Raster& a, const Raster& b) {
  const auto same = [](const Tensor& x, const Tensor& y) {
    const auto *from = static_cast<const std::byte*>(x.data()),
               *to = static_cast<const std::byte*>(y.data());
    return x.shape() == y.shape() && x.bytes() == y.bytes() &&
           std::equal(from, from + x.bytes(), to);
  };
  return same(a.image, b.image) && same(a.valid, b.valid);
}

Raster read_whole(const fs::path& path, const SceneOptions& options) {
  const Scene scene = Scene::open(path, options);
  return scene.read(scene.grid().whole());
}

// Does `action` throw a UserError? It must be one line with `name` in it.
bool refuses(const std::string& name, const std::function<void()>& action) {
  try {
    action();
    return false;
  } catch (const UserError& e) {
    const std::string text = e.what();
    CHECK_THAT(text, Contains(name));
    CHECK(text.find('\n') == std::string::npos);
    return true;
  }
}

bool refuses_or_gives(const Raster& expected, const std::string& name, const fs::path& scene,
                      const SceneOptions& options) {
  return refuses(name, [&] {
    const bool same = equal(read_whole(scene, options), expected);
    CHECK(same);
  });
}

// What the damage is called, and the damaged file.
using Damage = std::pair<std::string, std::string>;

std::vector<Damage> cuts(const std::string& whole, size_t header) {
  std::vector<Damage> damages;
  for (const size_t left :
       {size_t{0}, size_t{1}, header, whole.size() / 4, whole.size() / 2, 3 * whole.size() / 4,
        whole.size() - 100, whole.size() - 2, whole.size() - 1})
    damages.emplace_back("cut to " + std::to_string(left), whole.substr(0, left));
  return damages;
}

std::string overwritten(std::string bytes, size_t at, size_t count, uint64_t seed) {
  Rng rng(seed);
  for (size_t i = at; i < std::min(at + count, bytes.size()); ++i)
    bytes[i] = static_cast<char>(rng.below(256));
  return bytes;
}

// Writes every damaged variant in the place of `file`, which is whole again at the end. Returns how
// many were refused; the others must give `expected`.
int sweep(const fs::path& file, const std::vector<Damage>& damages, const fs::path& scene,
          const SceneOptions& options, const Raster& expected) {
  const std::string whole = read_file(file);
  int refused = 0;
  for (const auto& [what, bytes] : damages) {
    INFO(file.filename().string() << " " << what);
    write_file(file, bytes);
    refused += refuses_or_gives(expected, file.filename().string(), scene, options) ? 1 : 0;
  }
  write_file(file, whole);
  return refused;
}

constexpr size_t jp2_header = 120;  // the boxes are there, the codestream is not

void write_noise(const fs::path& path, const Grid& grid) {
  std::vector<uint16_t> samples(static_cast<size_t>(grid.width * grid.height));
  Rng rng(3);
  for (uint16_t& sample : samples) sample = static_cast<uint16_t>(1 + rng.below(3000));
  write_jp2(path, grid, samples);
}

TEST_CASE("damaged: a cut image is refused as a scene, as labels and as a further raster", "[io]") {
  const TempFolder folder;
  const Grid grid = test_grid(1100, 300);  // two of the file's tiles
  const fs::path image = folder / "cut.jp2";
  write_noise(image, grid);
  write_raster<uint16_t>(folder / "s.tif", grid, {{"B02"}},
                         [](int64_t, int64_t y, int64_t x) { return 1 + x + y; });
  const std::string whole = read_file(image);
  SceneOptions with_extra;
  with_extra.extras = {{"DEM", image, Resampling::nearest}};
  const Raster expected = read_whole(image, {}), extra = read_whole(folder / "s.tif", with_extra);
  const ClassMap classes{{{1, "low"}}, {}};
  for (const auto& [what, bytes] : cuts(whole, jp2_header)) {
    INFO(what);
    write_file(image, bytes);
    CHECK(refuses("cut.jp2", [&] { read_whole(image, {}); }));
    CHECK(refuses("cut.jp2", [&] { read_labels(image, grid, classes); }));
    CHECK(refuses("cut.jp2", [&] { read_whole(folder / "s.tif", with_extra); }));
    // The tile before the cut may still be read, and then it is right.
    refuses("cut.jp2", [&] {
      const Window left{10, 20, 700, 200};
      const Raster part = Scene::open(image).read(left);
      const auto from = expected.image.span<uint16_t>();
      for (int64_t row = 0; row < left.height; ++row)
        REQUIRE(std::equal(from.begin() + (left.y + row) * grid.width + left.x,
                           from.begin() + (left.y + row) * grid.width + left.x + left.width,
                           part.image.span<uint16_t>().begin() + row * left.width));
    });
  }
  write_file(image, whole);
  CHECK(equal(read_whole(image, {}), expected));
  CHECK(equal(read_whole(folder / "s.tif", with_extra), extra));
}

TEST_CASE("damaged: a virtual raster whose sources are gone or cut is refused", "[io]") {
  const TempFolder folder;
  write_raster<uint16_t>(
      folder / "part.tif", test_grid(300, 300), {{"B02"}},
      [](int64_t, int64_t y, int64_t x) { return 1 + (x * 7919 + y * 31) % 977; });
  write_file(folder / "mosaic.vrt",
             "<VRTDataset rasterXSize=\"300\" rasterYSize=\"300\">"
             "<VRTRasterBand dataType=\"UInt16\" band=\"1\"><SimpleSource>"
             "<SourceFilename relativeToVRT=\"1\">part.tif</SourceFilename>"
             "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>");
  const fs::path part = folder / "part.tif";
  const Raster expected = read_whole(part, {});
  CHECK(equal(read_whole(folder / "mosaic.vrt", {}), expected));
  fs::resize_file(part, fs::file_size(part) / 2);
  CHECK(refuses("mosaic.vrt", [&] { read_whole(folder / "mosaic.vrt", {}); }));
  fs::remove(part);
  CHECK(refuses("mosaic.vrt", [&] { read_whole(folder / "mosaic.vrt", {}); }));
}

TEST_CASE("damaged: members of an archive are held against its checksums", "[io]") {
  const TempFolder folder;
  fs::create_directory(folder / "scene");
  write_noise(folder / "scene/B02.jp2", test_grid(200, 150));
  write_raster<uint16_t>(folder / "scene/B03.tif", test_grid(200, 150), {{"B03"}},
                         [](int64_t, int64_t y, int64_t x) { return 1 + x + y; });
  const fs::path archive = folder / "whole.zip";
  write_zip(folder / "scene", archive);
  const std::string bytes = read_file(archive);
  int serial = 0;  // a name of its own for each, for readers may remember an archive
  const auto inside = [&](const std::string& content, const std::string& member) {
    const fs::path path = folder / ("v" + std::to_string(serial++) + ".zip");
    write_file(path, content);
    return fs::path("/vsizip/" + path.string() + "/scene/" + member);
  };
  for (const std::string member : {"B02.jp2", "B03.tif"}) {
    INFO(member);
    const Raster expected = read_whole(folder / ("scene/" + member), {});
    CHECK(equal(read_whole(inside(bytes, member), {}), expected));
    const size_t local = bytes.find(member), directory = bytes.rfind(member);
    REQUIRE(local < directory);
    constexpr size_t header_to_name = 46, header_to_crc = 16;
    std::string flipped = bytes, checksum = bytes;
    flipped[local + fs::file_size(folder / ("scene/" + member)) / 2] ^= 0x10;
    checksum[directory - std::string("scene/").size() - header_to_name + header_to_crc] ^= 1;
    for (const std::string& damage : {flipped, checksum}) {
      const fs::path path = inside(damage, member);
      for (int twice = 0; twice < 2; ++twice) {
        CHECK(refuses(member, [&] { read_whole(path, {}); }));
      }
    }
    // What is whole in a damaged archive may be read.
    const std::string other = member == "B02.jp2" ? "B03.tif" : "B02.jp2";
    CHECK(
        equal(read_whole(inside(flipped, other), {}), read_whole(folder / ("scene/" + other), {})));
  }
}

// Of each kind of layout and each level the bands with pixels, and the resolution they are read at.
struct Band {
  std::string file;
  SceneOptions options;
};

std::vector<Band> bands_of(const fs::path& product, const std::string& level) {
  std::vector<Band> bands;
  const auto add = [&](const char* name, int resolution, const std::string& file) {
    bands.push_back({find_file(product, file), at(resolution, {name})});
  };
  if (level == "L1C") {
    for (const char* name : {"B02", "B03", "B04", "B08"}) add(name, 10, str("_", name, ".jp2"));
    for (const char* name : {"B05", "B06", "B07", "B8A", "B11", "B12"})
      add(name, 20, str("_", name, ".jp2"));
    for (const char* name : {"B01", "B09", "B10"}) add(name, 60, str("_", name, ".jp2"));
    return bands;
  }
  for (const char* name : {"B02", "B08", "AOT"}) add(name, 10, str(name, "_10m.jp2"));
  for (const char* name : {"B05", "SCL"}) add(name, 20, str(name, "_20m.jp2"));
  for (const char* name : {"B01", "WVP"}) add(name, 60, str(name, "_60m.jp2"));
  return bands;
}

TEST_CASE("damaged: images of products", "[io][damaged]") {
  const auto data = real_data();
  if (!data) return;
  const std::string level = GENERATE("L1C", "L2A");
  const TempFolder folder;
  const fs::path product =
      copied(product_in(*data / "safe-cutdown-real-pixels", level, "N0509"), folder);
  for (const Band& band : bands_of(product, level)) {
    const std::string whole = read_file(band.file);
    const auto damages = cuts(whole, jp2_header);
    const Raster expected = read_whole(product, band.options);
    CHECK(sweep(band.file, damages, product, band.options, expected) ==
          static_cast<int>(damages.size()));
    // As on a disk that was never written to: the end of the file reads as zeros.
    std::vector<Damage> holes;
    for (const size_t quarter : {1, 2, 3}) {
      std::string hole = whole;
      std::fill(hole.begin() + static_cast<int64_t>(quarter * hole.size() / 4), hole.end(), '\0');
      holes.emplace_back("zeros at the end", hole);
    }
    CHECK(sweep(band.file, holes, product, band.options, expected) == 3);
    CHECK(equal(read_whole(product, band.options), expected));
  }
}

TEST_CASE("damaged: metadata of products", "[io][damaged]") {
  const auto data = real_data();
  if (!data) return;
  const std::string level = GENERATE("L1C", "L2A");
  const TempFolder folder;
  const fs::path product =
      copied(product_in(*data / "safe-cutdown-real-pixels", level, "N0509"), folder);
  const SceneOptions options = at(60, {"B01", "B09"});
  const Raster expected = read_whole(product, options);
  for (const std::string& name : {"MTD_MSI" + level + ".xml", std::string("MTD_TL.xml")}) {
    const fs::path file = find_file(product, name);
    const std::string whole = read_file(file);
    std::vector<Damage> damages = cuts(whole, 50);
    damages.pop_back();  // the last two cut the line's end and the last bracket:
    damages.pop_back();  // GDAL may take the latter for whole
    CHECK(sweep(file, damages, product, options, expected) == static_cast<int>(damages.size()));
    std::vector<Damage> garbled;
    constexpr size_t steps = 40;
    for (size_t i = 0; i < steps; ++i)
      garbled.emplace_back("garbled part " + std::to_string(i),
                           overwritten(whole, i * whole.size() / steps, 64, i));
    CHECK(sweep(file, garbled, product, options, expected) > 0);
  }
}

TEST_CASE("damaged: archives of products", "[io][damaged]") {
  const auto data = real_data();
  if (!data) return;
  const TempFolder folder;
  const fs::path product = product_in(*data / "safe-cutdown-real-pixels", "L1C", "N0509");
  const SceneOptions options = at(60);
  const fs::path archive = zipped(product, folder);
  const Raster expected = read_whole(archive, options);
  CHECK(equal(expected, read_whole(product, options)));
  const std::string whole = read_file(archive);
  std::vector<Damage> damages = cuts(whole, 30);
  const size_t directory = whole.find("PK\x01\x02"), end = whole.rfind("PK\x05\x06");
  REQUIRE(end > directory);
  for (const size_t at :
       {directory, directory + 20, (directory + end) / 2, end, end + 12, end + 16})
    damages.emplace_back("directory overwritten at " + std::to_string(at),
                         overwritten(whole, at, 12, at));
  // Each part of each member: images that are read, images that are not, metadata.
  constexpr size_t steps = 60;
  for (size_t i = 0; i < steps; ++i) {
    const size_t at = i * directory / steps;
    damages.emplace_back("overwritten at " + std::to_string(at), overwritten(whole, at, 16, at));
  }
  int refused = 0, serial = 0;
  for (const auto& [what, bytes] : damages) {
    INFO(what);
    const std::string name = "v" + std::to_string(serial++) + ".zip";
    write_file(folder / name, bytes);
    refused += refuses_or_gives(expected, name, folder / name, options) ? 1 : 0;
    fs::remove(folder / name);
  }
  CHECK(refused > 40);
}

}  // namespace
}  // namespace unetd::io
