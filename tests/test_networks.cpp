// The kinds of networks: their parameters and shapes, folding, and maps stitched from tiles.
#include "engine/tensor/mirror.h"
#include "io/tile_plan.h"
#include "tests/support/networks.h"
#include "tests/support/random.h"
#include "tools/tables.h"
#include "unet/trainer.h"

#include <catch2/catch.hpp>

namespace unetd {
namespace {

// The plan for a network, with the given halo where it has padding.
io::TilePlan plan_for(const UNetConfig& c, const Shape& s, int64_t tile, int64_t halo) {
  if (!c.valid) return io::plan_exact(s.w, s.h, tile, halo, c.stride());
  return io::with_surroundings(io::plan_exact(s.w, s.h, tile, 0, c.stride()),
                               {.margin = c.margin(),
                                .stride = c.stride(),
                                .side = [&](int64_t size) { return c.input_side(size); }});
}

// The map stitched from the tiles of a plan.
Tensor stitched(Predictor& predictor, const Tensor& scene, const io::TilePlan& plan) {
  const Shape s = scene.shape();
  const int64_t classes = predictor.model().classes, margin = predictor.model().margin();
  Tensor map({1, s.h, s.w, classes}, DType::f32);
  for (int64_t i = 0; i < plan.count(); ++i) {
    const io::Window read = plan.read_window(i), write = plan.write_window(i);
    const Tensor seen = take_pixels(scene, mirrored_line(read.y, read.height, s.h),
                                    mirrored_line(read.x, read.width, s.w));
    const Tensor part = predictor.logits(seen, {read.y, read.x, s.h, s.w});
    const int64_t top = write.y - read.y - margin, left = write.x - read.x - margin;
    for (int64_t y = 0; y < write.height; ++y) {
      std::copy_n(part.span<float>().data() + ((top + y) * part.shape().w + left) * classes,
                  write.width * classes,
                  map.span<float>().data() + ((write.y + y) * s.w + write.x) * classes);
    }
  }
  return map;
}
Tensor stitched(Predictor& predictor, const Tensor& scene, int64_t tile, int64_t halo) {
  return stitched(predictor, scene, plan_for(predictor.model(), scene.shape(), tile, halo));
}

Shape logits_of(const UNetConfig& c, const Shape& image) {
  Params params;
  Graph g;
  return g.info(unet(g, params, c, g.input(image, DType::f32, "image"), Mode::training)).shape;
}

TEST_CASE("parameter counts are those of the published networks", "[model]") {
  const auto total = [](const char* preset, int64_t bands, int64_t classes) {
    Config config;
    apply_preset(config, preset);
    config.model.in_channels = bands;
    config.model.classes = classes;
    return unet_params(unet_config(config, 0, 0), DeviceType::cpu).trained_count();
  };
  CHECK(total("elaouni", 3, 1) == 17'267'393);
  CHECK(total("wp99cp", 13, 4) == 31'043'588);
  CHECK(total("wp99cp", 14, 4) == 31'044'164);
  CHECK(total("milesial", 1, 1) == 31'036'481);
  CHECK(total("aladdinpersson", 1, 1) == 31'036'481);
  CHECK(total("ronneberger2015", 1, 2) == 31'030'658);
  CHECK(total("dumbnet", 3, 2) == 2'050);
  UNetConfig elaouni;
  elaouni.in_channels = 3;
  elaouni.classes = 1;
  elaouni.bilinear = elaouni.conv_bias = true;
  CHECK(parameter_table(elaouni).find("Total Trainable Params: 17267393") != std::string::npos);
  UNetConfig wp99cp;
  wp99cp.in_channels = 13;
  wp99cp.classes = 4;
  const std::string table = layer_table(wp99cp, 256, 256);
  CHECK(table.find("Total params: 31,043,588") != std::string::npos);
  CHECK(table.find("ConvTranspose2d-15      [1, 1024, 16, 16]       2,097,664") !=
        std::string::npos);
}

TEST_CASE("without padding 572 pixels become 388, and only even halvings are of use", "[model]") {
  Config config;
  apply_preset(config, "ronneberger2015");
  const UNetConfig c = unet_config(config, 1, 2);
  CHECK(logits_of(c, {1, 572, 572, 1}) == Shape{1, 388, 388, 2});
  CHECK(c.margin() == 92);
  CHECK(c.receptive_radius() == 92);
  CHECK(c.output_side(572) == 388);
  CHECK(c.input_side(388) == 572);
  CHECK(c.input_side(387) == 572);
  CHECK(c.input_side(389) == 588);
  CHECK(c.used_side(587) == 572);
  CHECK(c.used_side(256) == 252);
  CHECK(logits_of(c, {1, 256, 259, 1}) == Shape{1, 68, 68, 2});
  CHECK(c.input_side(1) == 188);
  CHECK(c.used_side(187) == 0);
  CHECK_THROWS_WITH(logits_of(c, {1, 187, 300, 1}), Catch::Contains("at least 188"));
  Config step;
  CHECK_THROWS_WITH(Trainer(step, c, {1, 128, 128, 1}, 1, {}), Catch::Contains("at least 188"));
}

TEST_CASE("every other network gives a map of the image's size", "[model]") {
  for (const auto& [name, c] : all_kinds()) {
    if (c.valid) continue;
    INFO(name);
    for (const Shape image : {Shape{1, 16, 24, 3}, Shape{2, 17, 31, 3}, Shape{1, 9, 8, 3}}) {
      CHECK(logits_of(c, image) == Shape{image.n, image.h, image.w, 2});
    }
  }
}

TEST_CASE("He's initialisation has its variance, and no biases", "[model]") {
  register_kernels();
  UNetConfig c = small_preset("ronneberger2015");
  c.width = 16;
  Params params = unet_params(c, DeviceType::cpu);
  params.initialise(3);
  const auto mean_square = [&](const char* name) {
    const Tensor t = params.read(name);
    double sum = 0;
    for (const float x : t.span<float>()) sum += double{x} * double{x};
    return sum / static_cast<double>(t.span<float>().size());
  };
  // 73,728 and 16,384 numbers: deviations of 0.5 and 1.1 %
  CHECK(mean_square("down2.maxpool_conv.1.double_conv.2.weight") ==
        Approx(2. / (9 * 64)).epsilon(0.03));
  CHECK(mean_square("up1.up.weight") == Approx(2. / 128).epsilon(0.05));
  CHECK(mean_square("up1.up.bias") == 0);
  CHECK(mean_square("inc.double_conv.0.bias") == 0);
}

TEST_CASE("folding batch norm does not change the network", "[model]") {
  for (const auto& [name, c] : all_kinds()) {
    INFO(name);
    Params params = random_params(c);
    const Tensor image = random_image({2, c.valid ? 96 : 24, c.valid ? 97 : 17, 3}, 8);
    Graph g;
    const Value x = g.input(image.shape(), DType::f32, "image");
    const Value logits = unet(g, params, c, x, Mode::evaluation);
    g.mark_output(logits);
    Session session(g, {});
    session.write(x, image);
    session.run();
    Predictor predictor(params, c, {});
    CHECK(largest_difference(session.read(logits), predictor.logits(image)) < 1e-4);
  }
}

TEST_CASE("a map stitched from tiles equals one pass over the scene", "[model][exact]") {
  for (auto [name, c] : all_kinds()) {
    c.depth = std::min<int64_t>(c.depth, 2);
    Predictor predictor(random_params(c), c, {});
    const Tensor scene = random_image({1, 93, 121, 3}, 9);
    const Tensor whole = one_pass(predictor, scene);
    for (const int64_t tile : {16, 40}) {
      INFO(name << ", tile " << tile);
      CHECK(largest_difference(stitched(predictor, scene, tile, c.receptive_radius()), whole) <
            1e-5);
    }
    INFO(name);
    if (c.valid) continue;
    // With less than the receptive field the seams must show, or the check above proves nothing.
    CHECK(largest_difference(stitched(predictor, scene, 16, c.stride()), whole) > 1e-5);
  }
}

TEST_CASE("an overlap of tiles without padding blends what each of them yields", "[model][exact]") {
  const UNetConfig c = small_preset("ronneberger2015");
  Predictor predictor(random_params(c), c, {});
  const Tensor scene = random_image({1, 60, 75, 3}, 9);
  const Tensor whole = one_pass(predictor, scene);
  io::TilePlan plan = io::plan_blend(75, 60, 32, 0.5, c.stride(), io::BlendWindow::hann);
  plan = io::with_surroundings(
      std::move(plan), {.margin = c.margin(), .stride = c.stride(), .side = [&](int64_t size) {
                          return c.input_side(size);
                        }});
  Band band({}, {1, 60, 75, 2});
  band.reach(60);
  for (int64_t i = 0; i < plan.count(); ++i) {
    const io::Window read = plan.read_window(i), write = plan.write_window(i);
    const Tensor seen = take_pixels(scene, mirrored_line(read.y, read.height, 60),
                                    mirrored_line(read.x, read.width, 75));
    // A tile anywhere but on the network's grid has other logits: only those on it are compared.
    predictor.blend(seen, Outputs::logits, 1, band,
                    {write.y, write.x, plan.row(i).weights, plan.column(i).weights});
  }
  CHECK(plan.count() > 4);
  const Tensor map = band.take(0, 60);
  // The corner lies in one tile, which begins where the whole scene does.
  for (size_t k = 0; k < 2; ++k)
    CHECK(map.span<float>()[k] == Approx(whole.span<float>()[k]).margin(1e-5));
}

TEST_CASE("exact stitching holds for a full network on a scene of odd size", "[slow][exact]") {
  for (const bool bilinear : {false, true}) {
    UNetConfig c = small_config(bilinear);
    c.width = 8;
    c.depth = 4;
    Predictor predictor(random_params(c), c, {});
    const Tensor scene = random_image({1, 619, 743, 3}, 10);
    const Tensor whole = predictor.logits(scene);
    for (const int64_t tile : {128, 256, 384}) {
      INFO("bilinear " << bilinear << ", tile " << tile);
      CHECK(largest_difference(stitched(predictor, scene, tile, c.receptive_radius()), whole) <
            1e-5);
    }
  }
}

TEST_CASE("an origin off the network's grid is refused", "[model]") {
  const UNetConfig c = small_config(true);
  Predictor predictor(random_params(c), c, {});
  CHECK_THROWS_WITH(predictor.logits(random_image({1, 16, 16, 3}, 1), {4, 0, 64, 64}),
                    Catch::Contains("off the network's grid"));
}

}  // namespace
}  // namespace unetd
