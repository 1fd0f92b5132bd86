// From a Sentinel-2 product and a terrain model to a map, through the programs alone.
#include "engine/base/file.h"
#include "io/product.h"
#include "io/scene.h"
#include "tests/support/run_program.h"
#include "tests/support/temp_folder.h"
#include "tests/support/workshop.h"
#include "tests/support/zip.h"
#include "tools/synth/product.h"

#include <algorithm>
#include <string>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;

void run(const std::string& command) {
  const ProgramResult result = run_program(command);
  INFO(command << "\n" << result.err);
  REQUIRE(result.code == 0);
}

TEST_CASE("a made-up product holds the scene's pixels at native resolutions", "[programs]") {
  const TempFolder folder;
  const std::string stack = (folder / "stack").string(), safe = (folder / "safe").string();
  run("unetd-synth --quiet --size 180 --seed 5 --out " + stack);
  run("unetd-synth --quiet --size 180 --seed 5 --product --out " + safe);
  CHECK_FALSE(fs::exists(safe + "/scene.tif"));
  CHECK(read_file(stack + "/dem.tif") == read_file(safe + "/dem.tif"));
  const fs::path product = fs::path(safe) / synth::product_name;
  const io::Product described = io::read_product(io::find_product(product).value());
  CHECK(described.granule("").grids.at(60).width == 30);
  CHECK(described.bands.at("B05").offset == Approx(-0.1));

  io::SceneOptions options;
  options.bands = {"B04", "B08"};
  const io::Scene from_stack = io::Scene::open(stack + "/scene.tif", options);
  const io::Scene from_safe = io::Scene::open(product, options);
  CHECK(io::same_grid(from_stack.grid(), from_safe.grid()));
  const io::Raster a = from_stack.read(from_stack.grid().whole());
  const io::Raster b = from_safe.read(from_safe.grid().whole());
  CHECK(std::ranges::equal(a.image.span<uint16_t>(), b.image.span<uint16_t>()));
  CHECK(std::ranges::equal(a.valid.span<uint8_t>(), b.valid.span<uint8_t>()));
  const ProgramResult again =
      run_program("unetd-synth --quiet --size 180 --seed 5 --product --out " + safe);
  CHECK(again.code == 1);
  const ProgramResult odd =
      run_program("unetd-synth --quiet --size 184 --product --out " + (folder / "odd").string());
  CHECK(odd.code == 2);
  CHECK(odd.complains("multiple of 6"));
  CHECK_FALSE(fs::exists(folder / "odd" / synth::product_name));
}

TEST_CASE("14 channels: a product and a terrain model become a map", "[programs]") {
  const TempFolder folder;
  const std::string safe = (folder / "safe").string(), store = (folder / "store").string();
  run("unetd-synth --quiet --size 240 --seed 3 --product --out " + safe);
  const fs::path product = fs::path(safe) / synth::product_name;
  const fs::path archive = fs::path(safe) / "product.zip";
  io::write_zip(product, archive);
  // Beside the product and beside the archive, not in them.
  const std::string dem = " --extra DEM={folder}/dem.tif:cubic ";
  const ProgramResult cut =
      run_program("unetd-tile " + product.string() + dem + "--labels " + safe + "/labels.tif" +
                  class_list + "--patch 32 --block 64 --out " + store);
  INFO(cut.err);
  REQUIRE(cut.code == 0);
  for (const char* stage :
       {": labels 100%, ", ": search for pixels without data 100%, ",
        ": plan of the patches 100%, ", ": patches with their statistics 100%, "})
    CHECK_THAT(cut.err, Catch::Contains(stage));
  const std::string model = (folder / "run").string();
  run("unetd-train --quiet --data " + store + " --out " + model + tiny +
      "--set training.steps=4 --set training.eval_every=2 --set normalisation.method=dynamic_world "
      "--set normalisation.constants=sentinel2");
  const std::string map = (folder / "map.tif").string(), zipped = (folder / "zip.tif").string();
  const std::string infer = "unetd-infer --quiet --model " + model + "/best.ckpt --tile 64 ";
  run(infer + dem + "--scene " + product.string() + " --out " + map);
  run(infer + dem + "--scene " + archive.string() + " --out " + zipped);
  CHECK(read_file(map) == read_file(zipped));

  io::SceneOptions options;
  options.extras = {{"DEM", fs::path(safe) / "dem.tif", io::Resampling::cubic}};
  const io::Scene scene = io::Scene::open(product, options), result = io::Scene::open(map);
  CHECK(scene.bands().size() == 14);
  REQUIRE(io::same_grid(scene.grid(), result.grid()));
  const Tensor in = scene.read(scene.grid().whole()).valid;
  const Tensor out = result.read(result.grid().whole()).valid;
  CHECK(std::ranges::equal(in.span<uint8_t>(), out.span<uint8_t>()));

  // The terrain model is a band of the network: without it there is no map.
  const ProgramResult bare = run_program(infer + "--scene " + product.string() + " --out " +
                                         (folder / "bare.tif").string());
  CHECK(bare.code == 1);
  CHECK(bare.complains("--extra DEM=PATH"));
}

}  // namespace
}  // namespace unetd
