// Raw patches on their way into a network: prepared the same on every device, and trained on and
// mapped as the normalised images that they become.
#include "engine/autograd/ops.h"
#include "engine/base/rng.h"
#include "engine/op/prepare_patches.h"
#include "kernels/register.h"
#include "tests/support/gpu.h"
#include "unet/predictor.h"
#include "unet/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

// Patches as a store holds them, with the constants that normalise them.
struct Patches {
  Tensor samples, valid, labels;
  std::vector<BandConstants> bands;
  Draws draws;

  Images images() const { return {samples, valid, bands, &draws}; }
};

template <class T>
Patches make_patches(const Shape& s, uint64_t seed) {
  Rng rng(seed);
  Patches p{Tensor(s, dtype_of<T>),
            Tensor({s.n, s.h, s.w, 1}, DType::u8),
            Tensor({s.n, s.h, s.w, 1}, DType::u8),
            {},
            {}};
  for (T& x : p.samples.span<T>()) x = static_cast<T>(rng.below(20000));
  for (uint8_t& v : p.valid.span<uint8_t>()) v = rng.below(8) == 0 ? 0 : 1;
  for (uint8_t& l : p.labels.span<uint8_t>()) l = static_cast<uint8_t>(rng.below(3));
  for (int64_t c = 0; c < s.c; ++c) {
    const float deviation = rng.uniform(1500, 4000);
    BandLine& line = p.bands.emplace_back().line;
    line.shift = rng.uniform(5000, 9000);
    line.scale = 1 / deviation;
    if (c % 3 == 1) line.low = -1, line.high = 1.5F;
  }
  p.draws = Draws::none(s.n, s.c);
  const auto below = [&](int64_t n) {
    return static_cast<int32_t>(rng.below(static_cast<uint32_t>(n)));
  };
  const int32_t first = below(symmetries);
  for (int32_t n = 0; n < s.n; ++n) {
    const int32_t symmetry = (first + n) % (s.h == s.w ? symmetries : transposing);
    p.draws.patches[static_cast<size_t>(n)] = {symmetry, below(s.h), below(s.w), below(s.h / 2),
                                               below(s.w / 2)};
  }
  for (BandDraw& band : p.draws.bands) {
    band = {rng.uniform(-0.5F, 0.5F), rng.below(6) == 0 ? 0.0F : 1.0F};
  }
  return p;
}

Tensor patch_of(const Tensor& all, int64_t n) {
  const Shape& s = all.shape();
  Tensor patch({1, s.h, s.w, s.c}, all.dtype());
  std::memcpy(patch.data(),
              static_cast<const std::byte*>(all.data()) + static_cast<size_t>(n) * patch.bytes(),
              patch.bytes());
  return patch;
}

// Turned patch by patch on the host, and `blank` where something is erased.
template <class T>
Tensor turned(const Tensor& all, const Draws& draws, T blank) {
  const Shape& s = all.shape();
  Tensor result(s, all.dtype());
  auto to = result.span<T>().begin();
  for (int64_t n = 0; n < s.n; ++n) {
    const PatchDraw& d = draws.patches[static_cast<size_t>(n)];
    const Tensor patch = apply_symmetry(patch_of(all, n), d.symmetry);
    for (int64_t i = 0; i < patch.count(); ++i, ++to) {
      const int64_t row = i / s.c / s.w - d.top, column = i / s.c % s.w - d.left;
      const bool erased = row >= 0 && row < d.height && column >= 0 && column < d.width;
      *to = erased ? blank : patch.span<T>()[static_cast<size_t>(i)];
    }
  }
  return result;
}
Tensor turned_labels(const Patches& p) { return turned<uint8_t>(p.labels, p.draws, 255); }

// What the patches become, by the formulas written down once more.
template <class T>
Tensor prepared_on_host(const Patches& p) {
  const Shape& s = p.samples.shape();
  Tensor image(s, DType::f32);
  for (int64_t i = 0; i < s.count(); ++i) {
    const auto at = static_cast<size_t>(i);
    const BandLine& b = p.bands[static_cast<size_t>(i % s.c)].line;
    const BandDraw& d = p.draws.bands[static_cast<size_t>(i / (s.h * s.w * s.c) * s.c + i % s.c)];
    const bool there = p.valid.span<uint8_t>()[static_cast<size_t>(i / s.c)] != 0 && d.kept != 0;
    const float y = (static_cast<float>(p.samples.span<T>()[at]) - b.shift) * b.scale;
    image.span<float>()[at] = there ? std::clamp(y, b.low, b.high) + d.offset : 0;
  }
  return turned<float>(image, p.draws, 0);
}

// The preparation alone, as a session.
struct Preparation {
  Graph graph;
  NetworkInput input;
  std::unique_ptr<Session> session;

  Preparation(const Patches& p, DeviceType device, DType type = DType::f32) {
    register_kernels();
    input = record_input(graph, p.samples.shape(), {p.samples.dtype(), DType::u8, type});
    graph.mark_output(input.image);
    graph.mark_output(input.labels);
    session = std::make_unique<Session>(graph, SessionOptions{.device = device});
  }
  void run(const Patches& p) {
    write_input(*session, input, p.images(), p.labels);
    session->run();
  }
};

std::vector<DeviceType> devices() {
  std::vector<DeviceType> all{DeviceType::cpu, DeviceType::simt};
  if (gpu_is_there()) all.push_back(DeviceType::cuda);
  return all;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.bytes() == b.bytes() &&
         std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

UNetConfig small_network(DType compute) {
  UNetConfig c;
  c.in_channels = 13;
  c.classes = 3;
  c.width = 4;
  c.depth = 1;
  c.compute = compute;
  return c;
}

}  // namespace

TEMPLATE_TEST_CASE("patches are normalised and turned to the same bits on every device",
                   "[patches][gpu]", uint8_t, uint16_t, int16_t, float) {
  for (const Shape& s : {Shape{8, 6, 6, 13}, Shape{4, 5, 9, 3}, Shape{8, 16, 16, 20}}) {
    const Patches p = make_patches<TestType>(s, 1);
    const Tensor want = prepared_on_host<TestType>(p), labels = turned_labels(p);
    for (const DeviceType device : devices()) {
      INFO(name_of(device) << " " << s);
      Preparation preparation(p, device);
      preparation.run(p);
      CHECK(same_bits(preparation.session->read(preparation.input.image), want));
      CHECK(same_bits(preparation.session->read(preparation.input.labels), labels));
    }
  }
}

// Every digital number, in bands with curves and without.
TEST_CASE("curves are the same on every device to a few roundings", "[patches][gpu]") {
  const Shape s{1, 256, 256, 5};
  Patches p = make_patches<uint16_t>(s, 3);
  p.draws = Draws::none(s.n, s.c);
  std::ranges::fill(p.valid.span<uint8_t>(), uint8_t{1});
  for (size_t i = 0; i < p.samples.span<uint16_t>().size(); ++i)
    p.samples.span<uint16_t>()[i] = static_cast<uint16_t>(i / 5);
  p.bands[1] = {{1000, 1}, 1.85F, -21.8F, 0.4F};
  p.bands[4] = {{0, 0.5F}, 1.0F, -6.5F, 0.6F};
  for (const DeviceType device : devices()) {
    INFO(name_of(device));
    Preparation preparation(p, device);
    preparation.run(p);
    const Tensor image = preparation.session->read(preparation.input.image);
    double worst = 0;
    for (size_t i = 0; i < image.span<float>().size(); ++i) {
      const BandConstants& b = p.bands[i % 5];
      const double v = (static_cast<double>(i / 5) - b.line.shift) * b.line.scale;
      const double curve =
          1 / (1 + std::exp2(-(b.slope * (v > 0 ? std::log2(v) : 0) + b.intercept))) - b.centre;
      const double line = normalised(static_cast<float>(i / 5), b.line);
      worst = std::max(worst, std::abs(image.span<float>()[i] - (b.slope == 0 ? line : curve)));
    }
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("samples without data may be anything, and become zero", "[patches]") {
  Patches p = make_patches<float>({2, 4, 4, 13}, 2);
  p.draws = Draws::none(2, 13);
  std::ranges::fill(p.valid.span<uint8_t>(), uint8_t{1});
  for (const int64_t pixel : {0, 7, 31}) {  // the last one, too
    p.valid.span<uint8_t>()[static_cast<size_t>(pixel)] = 0;
    for (int64_t c = 0; c < 13; ++c) {
      p.samples.span<float>()[static_cast<size_t>(pixel * 13 + c)] = c % 2 == 0 ? NAN : INFINITY;
    }
  }
  setenv("UNETD_CHECK_NAN", "1", 1);  // which must not mind them
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    Preparation preparation(p, device);
    preparation.run(p);
    const Tensor image = preparation.session->read(preparation.input.image);
    for (size_t i = 0; i < image.span<float>().size(); ++i) {
      const bool there = p.valid.span<uint8_t>()[i / 13] != 0;
      REQUIRE((image.span<float>()[i] == 0) == !there);
    }
  }
  unsetenv("UNETD_CHECK_NAN");
}

TEST_CASE("training on raw patches has the bits of training on what they become",
          "[patches][slow]") {
  const Shape s{4, 16, 16, 13};
  for (const auto& [device, compute] : {std::pair{"cpu", DType::f32},
                                        {"simt", DType::f32},
                                        {"simt", DType::bf16},
                                        {"simt", DType::f16}}) {
    INFO(device << " " << name_of(compute));
    register_kernels();
    Config config;
    config.runtime.device = device;
    const UNetConfig c = small_network(compute);
    Trainer raw(config, c, s, 4, {}, DType::u16), normal(config, c, s, 4, {});
    for (uint64_t step = 0; step < 4; ++step) {
      const Patches p = make_patches<uint16_t>(s, step);
      const Tensor image = prepared_on_host<uint16_t>(p), labels = turned_labels(p);
      const StepResult a = raw.train(p.images(), p.labels), b = normal.train(image, labels);
      CHECK(a.loss == b.loss);
      CHECK(a.grad_norm == b.grad_norm);
      CHECK(raw.evaluate(p.images(), p.labels) == normal.evaluate(image, labels));
    }
    for (const ParamSpec& spec : normal.params().specs()) {
      CHECK(same_bits(raw.params().read(spec.name), normal.params().read(spec.name)));
    }
    const Confusion of_raw = raw.take_tallies().confusion,
                    of_normal = normal.take_tallies().confusion;
    for (int64_t i = 0; i < c.classes * c.classes; ++i) {
      CHECK(of_raw.count(i / c.classes, i % c.classes) ==
            of_normal.count(i / c.classes, i % c.classes));
    }
  }
}

TEST_CASE("raw images are mapped as what they become", "[patches]") {
  register_kernels();
  const UNetConfig c = small_network(DType::f32);
  Params params = unet_params(c, DeviceType::cpu);
  params.initialise(3);
  Predictor predictor(params, c, {});
  Patches p = make_patches<int16_t>({1, 12, 20, 13}, 4);
  p.draws = Draws::none(1, 13);
  const Tensor image = prepared_on_host<int16_t>(p);
  const Images raw(p.samples, p.valid, p.bands);
  CHECK(same_bits(predictor.logits(raw), predictor.logits(image)));
  CHECK(same_bits(predictor.predict(raw, Outputs::probabilities),
                  predictor.predict(image, Outputs::probabilities)));
  for (const int views : {1, 4, 8}) {
    CHECK(same_bits(predictor.classes(raw, views), predictor.classes(image, views)));
  }
}

TEST_CASE("images that a graph was not recorded for are refused", "[patches]") {
  const Patches p = make_patches<uint16_t>({2, 4, 6, 3}, 5);
  Preparation preparation(p, DeviceType::cpu);
  const auto write = [&](const Images& images) {
    write_input(*preparation.session, preparation.input, images);
  };
  const Draws one = Draws::none(1, 3);
  Draws transposed = Draws::none(2, 3), none_such = transposed;
  transposed.patches[1].symmetry = 5;
  none_such.patches[0].symmetry = -1;
  CHECK_NOTHROW(write({p.samples, p.valid, p.bands}));
  CHECK_THROWS_WITH(write({p.samples, p.valid, p.bands, &one}),
                    Catch::Contains("draws is 40 bytes, given 20"));
  CHECK_THROWS_WITH(write({p.samples, p.valid, p.bands, &transposed}),
                    Catch::Contains("symmetry 5 of patches of 2x4x6x3"));
  CHECK_THROWS_WITH(write({p.samples, p.valid, p.bands, &none_such}),
                    Catch::Contains("symmetry -1"));
  CHECK_THROWS_WITH(write({p.samples, p.valid, std::span(p.bands).first(2)}),
                    Catch::Contains("bands is 84 bytes, given 56"));
  CHECK_THROWS_WITH(write(Tensor({2, 4, 6, 3}, DType::f32)),
                    Catch::Contains("recorded for raw images and is given normalised ones"));
  Graph g;
  RawPatches raw = preparation.input.raw;
  CHECK_THROWS_WITH(
      [&] {
        raw.samples = g.input({1, 2, 2, 3}, DType::i32, "numbers", Kind::dense);
        prepare_patches(g, raw, DType::f32);
      }(),
      Catch::Contains("numbers is i32"));
}
