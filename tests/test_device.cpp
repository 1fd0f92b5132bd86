// Devices: which there are, how data reach them, and what is said when something is missing. What
// needs no GPU is tested on simt, whose transfers go the way a GPU's go.
#include "engine/autograd/ops.h"
#include "engine/autograd/session.h"
#include "engine/base/rng.h"
#include "engine/device/backend.h"
#include "engine/op/maxpool2x2.h"
#include "engine/op/optimizer.h"
#include "kernels/register.h"
#include "tests/support/gpu.h"
#include "tests/support/random.h"
#include "tests/support/surroundings.h"
#include "tests/support/temp_folder.h"
#include "unet/checkpoint.h"
#include "unet/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

// Max-pooling: an operation that every device has.
struct Pooling {
  Graph graph;
  Value x, y;
  static constexpr Shape image{2, 6, 10, 8};

  Pooling() {
    register_kernels();
    x = graph.input(image, DType::f32, "image");
    y = max_pool2x2(graph, x);
    graph.mark_output(y);
  }
  Tensor run(Session& session, const Tensor& input) const {
    session.write(x, input);
    session.run();
    return session.read(y);
  }
};

UNetConfig small_unet() {
  UNetConfig c;
  c.in_channels = 3;
  c.classes = 2;
  c.width = 4;
  c.depth = 1;
  return c;
}

}  // namespace

TEST_CASE("only known words name a device", "[device]") {
  CHECK(open_device("cpu") == DeviceType::cpu);
  CHECK(open_device("simt") == DeviceType::simt);
  CHECK_THROWS_WITH(open_device("tpu"), Catch::Contains("auto, cpu, cuda, cuda:N, simt"));
  for (const char* name : {"cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999"}) {
    INFO(name);
    CHECK_THROWS_AS(open_device(name), UsageError);
  }
}

TEST_CASE("every device runs a session again and again, with the same bits", "[device][gpu]") {
  const Pooling net;
  const Tensor first = random_image(Pooling::image, 1), second = random_image(Pooling::image, 2);
  Session on_cpu(net.graph, {});
  const Tensor want_first = net.run(on_cpu, first), want_second = net.run(on_cpu, second);
  CHECK_FALSE(same_bits(want_first, want_second));
  std::vector<DeviceType> devices{DeviceType::simt};
  if (gpu_is_there()) devices.push_back(DeviceType::cuda);
  for (const DeviceType device : devices) {
    for (const bool separate : {false, true}) {
      INFO(name_of(device) << ", separate " << separate);
      Session session(net.graph, {.device = device, .separate = separate});
      // A GPU runs the first plainly, captures the second and replays the third.
      CHECK(same_bits(net.run(session, first), want_first));
      CHECK(same_bits(net.run(session, second), want_second));
      CHECK(same_bits(net.run(session, first), want_first));
    }
  }
}

TEST_CASE("profiling and debugging runs give the same bits on every device", "[device][gpu]") {
  const Pooling net;
  const Tensor image = random_image(Pooling::image, 1);
  Session plain(net.graph, {});
  const Tensor want = net.run(plain, image);
  const Environment sync("UNETD_SYNC", "1"), nan("UNETD_CHECK_NAN", "1");
  std::vector<DeviceType> devices{DeviceType::cpu, DeviceType::simt};
  if (gpu_is_there()) devices.push_back(DeviceType::cuda);
  for (const DeviceType device : devices) {
    INFO(name_of(device));
    Session session(net.graph, {.device = device});
    session.set_profiling(true);
    CHECK(same_bits(net.run(session, image), want));
    CHECK(session.report().front().seconds > 0);
  }
}

TEST_CASE("staging brings data there and back", "[device][gpu]") {
  std::vector<DeviceType> devices{DeviceType::cpu, DeviceType::simt};
  if (gpu_is_there()) devices.push_back(DeviceType::cuda);
  for (const DeviceType device : devices) {
    INFO(name_of(device));
    CHECK(backend(device).host_reaches_memory() == (device == DeviceType::cpu));
    Staging staging(device);
    for (const size_t bytes : {size_t{5}, size_t{100'000}, size_t{1}}) {
      const Buffer there(device, bytes);
      Buffer copied(device, bytes);
      staging.upload(there.data(), bytes, [&](std::byte* host) { std::memset(host, 0x5A, bytes); });
      copy(there, copied);
      const bool same = staging.download(copied.data(), bytes, [&](const std::byte* host) {
        return std::all_of(host, host + bytes, [](std::byte b) { return b == std::byte{0x5A}; });
      });
      CHECK(same);
    }
    Buffer small(device, 8);
    CHECK_THROWS_WITH(copy(Buffer(device, 16), small), Catch::Contains("16 bytes"));
  }
}

TEST_CASE("memory begins as zeros on every device", "[device][gpu]") {
  std::vector<DeviceType> devices{DeviceType::cpu, DeviceType::simt};
  if (gpu_is_there()) devices.push_back(DeviceType::cuda);
  for (const DeviceType device : devices) {
    constexpr size_t bytes = (size_t{4} << 20) + 12;
    for (int round = 0; round < 2; ++round) {  // the second finds what the first left
      const Buffer memory(device, bytes);
      Staging staging(device);
      CHECK(staging.download(memory.data(), bytes, [&](const std::byte* host) {
        return std::all_of(host, host + bytes, [](std::byte b) { return b == std::byte{0}; });
      }));
      backend(device).fill(memory.data(), 0xFF, bytes, backend(device).stream());
    }
  }
}

TEST_CASE("scalars are read together, and only scalars", "[session]") {
  register_kernels();
  constexpr int64_t count = 9;
  Graph g;
  const Value x = g.input({1, 1, 1, count}, DType::f32, "x", Kind::dense);
  const Value one = g.value({1, 1, 1, 1}, DType::f32, "one", Kind::dense);
  const Value two = g.value({1, 1, 1, 1}, DType::f32, "two", Kind::dense);
  g.emit(GlobalNorm{count}, {x}, {one});
  g.emit(GlobalNorm{count - 5}, {x}, {two});
  g.mark_output(one);
  g.mark_output(two);
  Session session(g, {});
  std::vector<float> values(count, 2.0F);
  session.write_dense(x, std::as_bytes(std::span(values)));
  session.run();
  CHECK(session.scalars({one, two}) == std::vector<double>{6, 4});
  CHECK(session.scalar(two) == 4);
  CHECK_THROWS_WITH(session.scalar(x), Catch::Contains("no scalar"));
  values.pop_back();
  CHECK_THROWS_WITH(session.write_dense(x, std::as_bytes(std::span(values))),
                    Catch::Contains("36 bytes, given 32"));
}

TEST_CASE("UNETD_CHECK_NAN names what is not finite first", "[device]") {
  register_kernels();
  const Environment nan("UNETD_CHECK_NAN", "1");
  const Pooling net;
  Tensor image = random_image(Pooling::image, 1);
  image.span<float>()[7] = std::numeric_limits<float>::quiet_NaN();
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    Session session(net.graph, {.device = device});
    CHECK_THROWS_WITH(net.run(session, image), Catch::Contains("image (an input) is not finite") &&
                                                   Catch::Contains("1 of "));
  }
  // Finite inputs whose convolution overflows, before other nodes hide or spread that.
  Graph g;
  const Value x = g.input({1, 4, 4, 3}, DType::f32, "x");
  const Value w = g.input({2, 3, 3, 3}, DType::f32, "w", Kind::filter);
  const Value y = relu(g, conv2d(g, x, w, {}, {.stride = 1, .pad = 1}));
  g.mark_output(y);
  Session session(g, {.kernels = KernelChoice("*=ref")});
  Tensor large({1, 4, 4, 3}, DType::f32), filter({2, 3, 3, 3}, DType::f32);
  std::ranges::fill(large.span<float>(), 1e30F);
  std::ranges::fill(filter.span<float>(), -1e30F);
  session.write(x, large);
  session.write(w, filter);
  CHECK_THROWS_WITH(session.run(), Catch::Contains("conv2d by ref) is not finite"));
}

TEST_CASE("UNETD_VERBOSE=time tells every node's time at the session's end", "[device]") {
  const Environment verbose("UNETD_VERBOSE", "time");
  const Pooling net;
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    Log log;
    {
      Session session(net.graph, {.device = device});
      net.run(session, random_image(Pooling::image, 1));
    }
    REQUIRE(log.lines.size() == 1);
    CHECK(log.lines[0].find("maxpool2x2") != std::string::npos);
    CHECK(log.lines[0].ends_with(" s"));
  }
}

TEST_CASE("a node that fails is named", "[device]") {
  struct Failing final : Kernel<MaxPool2x2> {
    void run(const MaxPool2x2::Buffers&, void*, Stream&) const override { throw Error("broken"); }
  };
  const Pooling net;
  auto& list = impls<MaxPool2x2>(DeviceType::cpu);
  list.push_back({"failing", take_all<MaxPool2x2>,
                  [](const MaxPool2x2&) -> std::unique_ptr<Kernel<MaxPool2x2>> {
                    return std::make_unique<Failing>();
                  }});
  Session session(net.graph, {.kernels = KernelChoice("maxpool2x2=failing")});
  list.pop_back();
  CHECK_THROWS_WITH(session.run(), Catch::Contains("maxpool2x2 by failing): broken"));
}

TEST_CASE("parameters are the same on every device, and so are checkpoints", "[device][gpu]") {
  register_kernels();
  Config config;
  config.runtime.device = "cpu";
  config.training.seed = 7;
  config.training.ema_decay = 0.9;
  const UNetConfig c = small_unet();
  const TempFolder folder;
  const Trainer trainer(config, c, {1, 8, 8, 3}, 1, {});
  save_checkpoint(folder / "cpu.ckpt", trainer, {}, false);
  std::vector<DeviceType> devices{DeviceType::simt};
  if (gpu_is_there()) devices.push_back(DeviceType::cuda);
  for (const DeviceType device : devices) {
    Params started = unet_params(c, device), loaded = unet_params(c, device);
    started.initialise(7);
    Checkpoint(folder / "cpu.ckpt").load(loaded);
    const Params folded = fold_batch_norm(loaded, c, device);
    const Params folded_on_cpu = fold_batch_norm(trainer.params(), c, DeviceType::cpu);
    for (const ParamSpec& s : started.specs()) {
      INFO(name_of(device) << " " << s.name);
      CHECK(same_bits(started.read(s.name), trainer.params().read(s.name)));
      CHECK(same_bits(loaded.read(s.name), trainer.params().read(s.name)));
    }
    for (const ParamSpec& s : folded.specs()) {
      CHECK(same_bits(folded.read(s.name), folded_on_cpu.read(s.name)));
    }
  }
}

namespace {

// Losses, gradient norms and validation losses of training on one batch after another.
struct Course {
  std::vector<double> loss, norm, valid;
};

UNetConfig small_network(DType compute) {
  UNetConfig c;
  c.in_channels = 13;
  c.classes = 4;
  c.width = 8;
  c.depth = 2;
  c.compute = compute;
  return c;
}

Course train(const std::string& device, bool bilinear, DType compute, int steps,
             const char* loss = "cross_entropy") {
  UNetConfig c = small_network(compute);
  c.bilinear = bilinear;
  const Shape shape{2, 14, 10, c.in_channels};  // odd below, so that skips are padded
  Config config;
  config.runtime.device = device;
  config.training.ema_decay = 0.9;
  // Small steps: ReLU and max-pool turn roundings into other paths, and those grow.
  config.optimizer.lr = 1e-4;
  apply_override(config, {"loss.type", loss, "test"});
  Trainer trainer(config, c, shape, steps, {});
  Course course;
  for (int step = 0; step < steps; ++step) {
    const Tensor image = random_image(shape, static_cast<uint64_t>(step));
    Tensor labels({shape.n, shape.h, shape.w, 1}, DType::u8);
    // What the first band tells, with some pixels that nobody labelled.
    for (size_t i = 0; i < labels.span<uint8_t>().size(); ++i) {
      const float x = image.span<float>()[i * 13];
      labels.span<uint8_t>()[i] = i % 31 == 0 ? uint8_t{255} : static_cast<uint8_t>(2 * x + 2);
    }
    const StepResult result = trainer.train(image, labels);
    course.loss.push_back(result.loss);
    course.norm.push_back(result.grad_norm);
    if (step % 5 == 4) course.valid.push_back(trainer.evaluate(image, labels));
  }
  return course;
}

void check_near(const std::vector<double>& got, const std::vector<double>& want, double apart) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    INFO("value " << i << " is " << got[i] << ", not " << want[i]);
    CHECK(std::abs(got[i] - want[i]) <= apart * std::abs(want[i]));
  }
}

void check_training(const std::string& device) {
  constexpr int steps = 20;
  for (const bool bilinear : {false, true}) {
    INFO(device << (bilinear ? " bilinear" : " transposed"));
    const Course want = train("cpu", bilinear, DType::f32, steps);
    const Course got = train(device, bilinear, DType::f32, steps);
    check_near(got.loss, want.loss, 1e-4);
    check_near(got.norm, want.norm, 1e-2);
    check_near(got.valid, want.valid, 1e-3);
    for (const auto& [compute, apart] : {std::pair{DType::bf16, 0.02}, {DType::f16, 0.004}}) {
      INFO(name_of(compute));
      const Course rounded = train(device, bilinear, compute, steps);
      check_near(rounded.loss, want.loss, apart);
      check_near(rounded.valid, want.valid, apart);
      CHECK(rounded.loss != got.loss);
    }
  }
}

// Two losses of the same logits, whose values and gradients add up on the device.
void check_sum_of_losses(const std::string& device) {
  constexpr int steps = 5;
  constexpr const char* sum = "cross_entropy + 0.5 dice";
  const Course want = train("cpu", false, DType::f32, steps, sum);
  const Course got = train(device, false, DType::f32, steps, sum);
  check_near(got.loss, want.loss, 1e-4);
  check_near(got.norm, want.norm, 1e-2);
  check_near(got.valid, want.valid, 1e-3);
  check_near(train(device, false, DType::f16, steps, sum).loss, want.loss, 0.004);
  const Course entropy = train("cpu", false, DType::f32, 1),
               dice = train("cpu", false, DType::f32, 1, "dice");
  CHECK(want.loss[0] == Approx(entropy.loss[0] + 0.5 * dice.loss[0]));
}

// With a loss scale that overflows f16 steps change nothing but the scale, until it fits.
void check_loss_scale(const std::string& device) {
  const Shape shape{1, 16, 16, 13};
  Config config;
  config.runtime.device = device;
  Trainer trainer(config, small_network(DType::f16), shape, 10, {});
  const Tensor image = random_image(shape, 1), labels({1, 16, 16, 1}, DType::u8);
  const auto filter = [&] { return trainer.params().read("outc.conv.weight"); };
  const Tensor before = filter();
  trainer.set_loss_scale({0x1p60F, 5});
  CHECK_FALSE(std::isfinite(trainer.train(image, labels).grad_norm));
  CHECK(std::memcmp(filter().data(), before.data(), before.bytes()) == 0);
  CHECK(trainer.loss_scale().scale == 0x1p59F);
  CHECK(trainer.loss_scale().good_steps == 0);
  trainer.set_loss_scale({0x1p10F, 1999});
  CHECK(trainer.train(image, labels).grad_norm < 100);
  CHECK(std::memcmp(filter().data(), before.data(), before.bytes()) != 0);
  CHECK(trainer.loss_scale().scale == 0x1p11F);
}

}  // namespace

TEST_CASE("a network trains on the emulated GPU as it does on the CPU", "[device][simt][slow]") {
  register_kernels();
  check_training("simt");
}

TEST_CASE("a sum of losses trains on the emulated GPU as it does on the CPU",
          "[device][simt][slow]") {
  register_kernels();
  check_sum_of_losses("simt");
}

TEST_CASE("the loss scale of f16 adapts on the emulated GPU", "[device][simt]") {
  register_kernels();
  check_loss_scale("simt");
}

TEST_CASE("a network trains on the GPU as it does on the CPU", "[device][gpu]") {
  register_kernels();
  if (!gpu_is_there()) return;
  check_training("cuda");
  check_sum_of_losses("cuda");
  check_loss_scale("cuda");
}

TEST_CASE("16-bit types are refused on the CPU, with the key", "[device]") {
  register_kernels();
  CHECK_THROWS_WITH(train("cpu", false, DType::bf16, 1), Catch::Contains("runtime.precision"));
}

TEST_CASE("what a device's kernels lack is told with the node and the reasons", "[device]") {
  register_kernels();
  Graph g;
  // f64 is for the reference on the CPU only.
  g.mark_output(max_pool2x2(g, g.input({1, 4, 4, 8}, DType::f64, "precise")));
  CHECK_THROWS_WITH(Session(g, {.device = DeviceType::simt}),
                    Catch::Contains("no implementation of maxpool2x2 on simt: cuda: "));
}

// --- the CUDA library --------------------------------------------------------------------------

#if UNETD_HAVE_CUDA

TEST_CASE("loading the CUDA library fills the program's own lists", "[device]") {
  register_kernels();
  REQUIRE_FALSE(cuda_library_file().empty());
  REQUIRE(load_cuda().empty());
  REQUIRE(load_cuda().empty());  // a second call adds nothing
  const auto& list = impls<MaxPool2x2>(DeviceType::cuda);
  REQUIRE(list.size() == 1);
  CHECK(list[0].name == "cuda");
  CHECK(list[0].reject({.x = {1, 4, 4, 8}}) == nullptr);
  CHECK(list[0].make({.x = {1, 4, 4, 8}}) != nullptr);
}

TEST_CASE("a GPU that is not there is a reason, not a crash", "[device]") {
  register_kernels();
  if (gpu_is_there()) {
    CHECK_THROWS_WITH(open_device("cuda:4096"), Catch::Contains("already"));
    return;
  }
  CHECK_THROWS_WITH(open_device("cuda"), Catch::Contains("device 'cuda': ") &&
                                             Catch::Contains("--device cpu needs no GPU"));
  CHECK_THROWS_AS(backend(DeviceType::cuda).stream(), Error);
}

#endif
