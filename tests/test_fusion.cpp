// Fused nodes: when a session makes them, what keeps nodes apart, and that the results stay.
#include "engine/autograd/ops.h"
#include "engine/autograd/session.h"
#include "engine/op/batch_norm_pool.h"
#include "engine/op/maxpool2x2.h"
#include "engine/op/pointwise.h"
#include "kernels/register.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "unet/trainer.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

constexpr const char* no_fusion =
    "batch_norm_apply_pool=none,batch_norm_pool_grad=none,conv2d_stats=none,"
    "conv2d_norm_grad=none";

// How often a session runs each problem.
using Counts = std::map<std::string, int>;
Counts counts_of(const Session& session) {
  Counts counts;
  for (const auto& node : session.report()) ++counts[node.problem];
  return counts;
}
bool fused_forward(Counts counts) {
  CHECK(counts["batch_norm_apply_pool"] + counts["maxpool2x2"] == 1);
  CHECK(counts["maxpool2x2"] == counts["batch_norm_apply"]);
  return counts["batch_norm_apply_pool"] == 1;
}
bool fused_backward(Counts counts) {
  CHECK(counts["batch_norm_pool_grad"] + counts["maxpool2x2_grad"] == 1);
  CHECK(counts["maxpool2x2_grad"] == counts["batch_norm_grad"]);
  return counts["batch_norm_pool_grad"] == 1;
}

// One level of a UNet with odd sides: batch norm, the pooled image, and a use of the skip. y comes
// of both.
struct Level {
  enum class Use : uint8_t { before_pooling, behind_pooling, twice };
  static constexpr Shape shape{2, 7, 9, 16};

  Graph g;
  Value x, dy, skip, pooled, y;
  std::vector<Value> vectors;  // gamma, beta, running mean, running variance

  explicit Level(Use use = Use::behind_pooling, bool relu = true) {
    register_kernels();
    x = g.input(shape, DType::f32, "x");
    for (const char* name : {"gamma", "beta", "running_mean", "running_var"}) {
      vectors.push_back(g.input(vector_shape(shape.c), DType::f32, name));
    }
    for (const Value v : {x, vectors[0], vectors[1]}) g.require_grad(v);
    skip = batch_norm(g, x, {vectors[0], vectors[1], vectors[2], vectors[3]}, {.relu = relu});
    Value used;
    if (use != Use::behind_pooling) used = sigmoid(g, skip);
    pooled = max_pool2x2(g, skip);
    if (use == Use::behind_pooling) used = sigmoid(g, skip);
    if (use == Use::twice) used = add(g, used, softmax(g, skip));
    y = concat_channels(g, used, pad2d(g, upsample2x(g, pooled, true), {0, 1, 0, 1}));
    g.mark_output(y);
  }
  void differentiate() {
    dy = g.input(g.info(y).shape, DType::f32, "dy");
    g.backward(y, dy);
    for (const Value v : {x, vectors[0], vectors[1]}) g.mark_output(g.grad(v));
  }

  // The value that the only node of a problem writes.
  Value result_of(std::string_view problem, size_t output = 0) const {
    for (const auto& node : g.nodes()) {
      if (node->problem() == problem) return node->out[output];
    }
    throw Error(str("no node of ", problem));
  }

  Session session(DeviceType device, const std::string& choice = {}) const {
    return {g, {.device = device, .kernels = KernelChoice(choice), .separate = true}};
  }
  // `results` after a run.
  std::vector<Tensor> run(Session& session, const std::vector<Value>& results) const {
    session.write(x, random_image(shape, 1));
    for (size_t i = 0; i < vectors.size(); ++i) {
      session.write(vectors[i], random_image(vector_shape(shape.c), 2 + i));
    }
    if (dy) session.write(dy, random_image(g.info(dy).shape, 9));
    session.run();
    std::vector<Tensor> all;
    all.reserve(results.size());
    for (const Value v : results) all.push_back(session.read(v));
    return all;
  }
  // Are they, on every device, what nodes of their own give? `expect` looks at the nodes.
  void check(const std::vector<Value>& results,
             const std::function<void(const Counts&)>& expect) const {
    for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
      INFO(name_of(device));
      Session plain = session(device, no_fusion), free = session(device);
      CHECK_FALSE(fused_forward(counts_of(plain)));
      expect(counts_of(free));
      const std::vector<Tensor> want = run(plain, results), got = run(free, results);
      for (size_t i = 0; i < results.size(); ++i) {
        INFO(g.info(results[i]).name);
        CHECK(difference(got[i], want[i], tolerance(DType::f32, shape.pixels())).empty());
      }
    }
  }
  std::vector<Value> gradients() const {
    return {g.grad(x), g.grad(vectors[0]), g.grad(vectors[1])};
  }
};

UNetConfig small_unet(DType compute) {
  UNetConfig c;
  c.in_channels = 3;
  c.classes = 3;
  c.width = 8;
  c.depth = 2;
  c.compute = compute;
  return c;
}

struct Trained {
  Counts counts;
  std::vector<double> loss;
};
Trained train(const std::string& device, DType compute, const std::string& choice) {
  const Shape shape{2, 14, 10, 3};  // odd below
  Config config;
  config.runtime.device = device;
  config.runtime.kernels = choice;
  config.optimizer.lr = 1e-3;
  constexpr int steps = 4;
  Trainer trainer(config, small_unet(compute), shape, steps, {});
  const Tensor image = random_image(shape, 1);
  Tensor labels({shape.n, shape.h, shape.w, 1}, DType::u8);
  for (size_t i = 0; i < labels.span<uint8_t>().size(); ++i) {
    labels.span<uint8_t>()[i] = static_cast<uint8_t>(i % 3);
  }
  Trained trained{counts_of(trainer.session()), {}};
  for (int step = 0; step < steps; ++step)
    trained.loss.push_back(trainer.train(image, labels).loss);
  return trained;
}

}  // namespace

TEST_CASE("a network trains with fused nodes as it does without", "[fusion]") {
  register_kernels();
  const int depth = static_cast<int>(small_unet(DType::f32).depth);
  struct Case {
    const char* device;
    DType compute;
    double apart;
  };
  for (const Case& c : {Case{"cpu", DType::f32, 1e-5}, Case{"simt", DType::f32, 1e-5},
                        Case{"simt", DType::bf16, 1e-2}}) {
    INFO(c.device << " " << name_of(c.compute));
    Trained fused = train(c.device, c.compute, ""), plain = train(c.device, c.compute, no_fusion);
    CHECK(fused.counts["batch_norm_apply_pool"] == depth);
    CHECK(fused.counts["batch_norm_pool_grad"] == depth);
    // GPUs take the statistics of every convolution that a batch norm follows: all but the last.
    const int with_statistics = std::string(c.device) == "simt" ? plain.counts["conv2d"] - 1 : 0;
    CHECK(fused.counts["conv2d_stats"] == with_statistics);
    CHECK(fused.counts["conv2d"] + with_statistics == plain.counts["conv2d"]);
    CHECK(fused.counts["batch_norm_stats"] + with_statistics == plain.counts["batch_norm_stats"]);
    CHECK(plain.counts["conv2d_stats"] == 0);
    for (const char* part : {"maxpool2x2", "maxpool2x2_grad", "add"}) {
      CHECK(fused.counts[part] == 0);
      CHECK(plain.counts[part] == depth);
    }
    CHECK(fused.counts["batch_norm_apply"] + depth == plain.counts["batch_norm_apply"]);
    // The images of every second convolution come of a batch norm; so does the last one's, but for
    // 16-bit types by way of a cast.
    const int images = 2 * depth + 1 + (c.compute == DType::f32 ? 1 : 0);
    const int norm_grads = std::string(c.device) == "simt" ? images : 0;
    CHECK(fused.counts["conv2d_norm_grad"] == norm_grads);
    CHECK(fused.counts["conv2d_data_grad"] + norm_grads == plain.counts["conv2d_data_grad"]);
    CHECK(fused.counts["batch_norm_grad"] + depth + norm_grads == plain.counts["batch_norm_grad"]);
    CHECK(plain.counts["batch_norm_apply_pool"] + plain.counts["batch_norm_pool_grad"] == 0);
    for (size_t i = 0; i < plain.loss.size(); ++i) {
      CHECK(fused.loss[i] == Approx(plain.loss[i]).epsilon(c.apart));
    }
    CHECK(plain.loss.back() != plain.loss.front());
  }
}

TEST_CASE("gradients are fused in whatever order they were added", "[fusion]") {
  for (const Level::Use use : {Level::Use::before_pooling, Level::Use::behind_pooling}) {
    INFO("use " << static_cast<int>(use));
    Level level(use);
    level.differentiate();
    level.check(level.gradients(), [](const Counts& counts) {
      CHECK(fused_forward(counts));
      CHECK(fused_backward(counts));
    });
  }
}

TEST_CASE("a skip that is read, or read out, is written all the same", "[fusion]") {
  Level level;
  level.g.mark_output(level.skip);
  level.g.mark_output(level.pooled);
  level.check({level.skip, level.pooled, level.y},
              [](const Counts& counts) { CHECK(fused_forward(counts)); });
}

TEST_CASE("values that are read elsewhere are not fused away", "[fusion]") {
  const auto not_backward = [](const Counts& counts) {
    CHECK_FALSE(fused_backward(counts));
    CHECK_FALSE(fused_forward(counts));  // the gradient reads where the maxima are
  };
  SECTION("the places of the maxima as an output") {
    Level level;
    const Value argmax = level.result_of(MaxPool2x2::name, 1);
    level.g.mark_output(argmax);
    level.check({argmax}, [](const Counts& counts) { CHECK_FALSE(fused_forward(counts)); });
  }
  SECTION("the gradient of the skip as an output") {
    Level level;
    level.differentiate();
    level.g.mark_output(level.g.grad(level.skip));
    level.check({level.g.grad(level.skip)}, not_backward);
  }
  SECTION("the gradient of the skip by another node") {
    Level level;
    level.differentiate();
    const Value more = relu(level.g, level.g.grad(level.skip));
    level.g.mark_output(more);
    level.check({more}, not_backward);
  }
  SECTION("the gradient that comes from pooling by another node") {
    Level level;
    level.differentiate();
    const Value more = relu(level.g, level.result_of(MaxPool2x2Grad::name));
    level.g.mark_output(more);
    level.check({more}, not_backward);
  }
  SECTION("the gradient that comes from pooling by the first of two sums") {
    Level level(Level::Use::twice);  // (softmax + pooling) + sigmoid
    level.differentiate();
    level.check(level.gradients(), not_backward);
  }
}

namespace {

// A batch norm and the convolution behind it, with the gradients of all that goes in.
struct NormConv {
  static constexpr Shape shape{2, 7, 9, 16};

  Graph g;
  std::vector<Value> in;  // x, gamma, beta, filter, dy
  Value z;
  std::vector<Value> gradients;

  explicit NormConv(bool relu = true) {
    register_kernels();
    const Value x = g.input(shape, DType::f32, "x");
    const Shape v = vector_shape(shape.c);
    const Value gamma = g.input(v, DType::f32, "gamma"), beta = g.input(v, DType::f32, "beta");
    const Value w = g.input({24, 3, 3, shape.c}, DType::f32, "w", Kind::filter);
    in = {x, gamma, beta, w};
    for (const Value value : in) g.require_grad(value);
    const Value running_mean = g.input(v, DType::f32, "running_mean"),
                running_var = g.input(v, DType::f32, "running_var");
    z = batch_norm(g, x, {gamma, beta, running_mean, running_var}, {.relu = relu});
    const Value y = conv2d(g, z, w, {}, {.stride = 1, .pad = 1});
    in.push_back(g.input(g.info(y).shape, DType::f32, "dy"));
    g.backward(y, in.back());
    for (const Value value : {x, gamma, beta, w}) {
      gradients.push_back(g.grad(value));
      g.mark_output(gradients.back());
    }
  }

  std::vector<Tensor> run(Session& session) const {
    for (size_t i = 0; i < in.size(); ++i)
      session.write(in[i], random_image(g.info(in[i]).shape, 1 + i));
    session.run();
    std::vector<Tensor> all;
    all.reserve(gradients.size());
    for (const Value v : gradients) all.push_back(session.read(v));
    return all;
  }
  // Is it fused? The gradients must be those of nodes of their own.
  bool fused(DeviceType device, const std::string& choice = {}) const {
    const auto session = [&](const std::string& kernels) {
      return Session(g, {.device = device, .kernels = KernelChoice(kernels), .separate = true});
    };
    Session plain = session(no_fusion), free = session(choice);
    Counts counts = counts_of(free);
    CHECK(counts["conv2d_norm_grad"] + counts["batch_norm_grad"] == 1);
    CHECK(counts["conv2d_data_grad"] == counts["batch_norm_grad"]);
    const std::vector<Tensor> want = run(plain), got = run(free);
    for (size_t i = 0; i < gradients.size(); ++i) {
      INFO(name_of(device) << " " << choice << " " << g.info(gradients[i]).name);
      CHECK(difference(got[i], want[i], tolerance(DType::f32, shape.pixels())).empty());
    }
    return counts["conv2d_norm_grad"] == 1;
  }
};

}  // namespace

TEST_CASE("a data gradient goes on through the batch norm before the convolution", "[fusion]") {
  const NormConv net;
  CHECK(net.fused(DeviceType::simt));
  CHECK(net.fused(DeviceType::cpu, "*=ref"));
  CHECK(net.fused(DeviceType::cpu, "conv2d_norm_grad=ref"));
  CHECK_FALSE(net.fused(DeviceType::simt, "conv2d_norm_grad=none"));
  CHECK_FALSE(net.fused(DeviceType::simt, "conv2d_data_grad=cuda"));
  CHECK_FALSE(net.fused(DeviceType::simt, "batch_norm_grad=cuda"));
  CHECK_FALSE(NormConv(/*relu=*/false).fused(DeviceType::simt));
}

TEST_CASE("a data gradient that is read elsewhere stays", "[fusion]") {
  NormConv net;
  net.g.mark_output(net.g.grad(net.z));
  CHECK_FALSE(net.fused(DeviceType::simt));
}

TEST_CASE("batch norm without ReLU is left alone", "[fusion]") {
  Level level(Level::Use::behind_pooling, /*relu=*/false);
  level.differentiate();
  level.check(level.gradients(), [](const Counts& counts) {
    CHECK_FALSE(fused_forward(counts));
    CHECK_FALSE(fused_backward(counts));
  });
}

TEST_CASE("a fusion is switched off by its name or by one of its parts", "[fusion]") {
  Level level;
  level.differentiate();
  const auto fused = [&](const std::string& choice) {
    const Counts counts = counts_of(level.session(DeviceType::simt, choice));
    return std::pair{fused_forward(counts), fused_backward(counts)};
  };
  CHECK(fused("") == std::pair{true, true});
  CHECK(fused("batch_norm_apply_pool=none") == std::pair{false, true});
  CHECK(fused("batch_norm_apply_pool=-cuda") == std::pair{false, true});
  CHECK(fused("maxpool2x2=cuda") == std::pair{false, true});
  // Then the gradient reads where the maxima are.
  CHECK(fused("batch_norm_pool_grad=none") == std::pair{false, false});
  CHECK(fused("add=cuda") == std::pair{false, false});
  // Others are not meant.
  CHECK(fused("relu=cuda,*=-onednn") == std::pair{true, true});
  CHECK(fused("batch_norm_apply_pool=cuda") == std::pair{true, true});
  CHECK_THROWS_WITH(level.session(DeviceType::simt, "batch_norm_pool_grad=abacus"),
                    Catch::Contains("batch_norm_pool_grad on simt: there is no 'abacus'"));
}

TEST_CASE("the reference fuses only what it would compute anyway", "[fusion]") {
  Level level;
  level.differentiate();
  const auto fused = [&](const std::string& choice) {
    const Counts counts = counts_of(level.session(DeviceType::cpu, choice));
    return std::pair{fused_forward(counts), fused_backward(counts)};
  };
  CHECK(fused("*=ref") == std::pair{true, true});
  auto& list = impls<BatchNormPoolGrad>(DeviceType::cpu);
  if (list.front().name == "ref") return;  // a processor without AVX2
  const auto before = list;
  list.erase(list.begin(), list.end() - 1);
  const auto by_default = fused(""), forced = fused("batch_norm_pool_grad=ref");
  list = before;
  CHECK(by_default == std::pair{false, false});
  CHECK(forced == std::pair{true, true});
}

TEST_CASE("what is fused away takes no memory", "[fusion]") {
  Level level;
  level.differentiate();
  const SessionOptions plain{.device = DeviceType::simt, .kernels = KernelChoice(no_fusion)};
  const size_t image = static_cast<size_t>(Level::shape.count()) * sizeof(float);
  const size_t without = Session(level.g, plain).memory().sum;
  const size_t with = Session(level.g, {.device = DeviceType::simt}).memory().sum;
  CHECK(with + 2 * image <= without);  // the gradient that comes from pooling, and the sum
}
