#include "engine/autograd/ops.h"
#include "engine/autograd/session.h"
#include "kernels/register.h"
#include "tests/support/random.h"

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

struct Network {
  Graph graph;
  Value x, w, y;
};

// Convolution, ReLU, pooling: enough values to share memory.
Network small_network() {
  register_kernels();
  Network n;
  Graph& g = n.graph;
  n.x = g.input({1, 8, 8, 3}, DType::f32, "x");
  n.w = g.input({5, 3, 3, 3}, DType::f32, "w", Kind::filter);
  n.y = max_pool2x2(g, relu(g, conv2d(g, n.x, n.w, {}, {.stride = 1, .pad = 1})));
  g.mark_output(n.y);
  return n;
}

Tensor run(const Network& n, const SessionOptions& options) {
  Session session(n.graph, options);
  session.write(n.x, random_image({1, 8, 8, 3}, 1));
  session.write(n.w, random_image({5, 3, 3, 3}, 2));
  session.run();
  return session.read(n.y);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

}  // namespace

TEST_CASE("shared memory gives what separate memory gives", "[session]") {
  const Network n = small_network();
  CHECK(same_bits(run(n, {}), run(n, {.separate = true})));
}

TEST_CASE("a forced implementation is the one that runs", "[session]") {
  const Network n = small_network();
  Session session(n.graph, {.kernels = KernelChoice("*=ref,relu=ref")});
  for (const auto& node : session.report()) CHECK(node.implementation == "ref");
}

TEST_CASE("an excluded implementation does not run", "[session]") {
  const Network n = small_network();
  const auto relu_runs_on = [&](const std::string& choice) {
    Session session(n.graph, {.kernels = KernelChoice(choice)});
    for (const auto& node : session.report())
      if (node.problem == "relu") return node.implementation;
    return std::string();
  };
  const std::string preferred = relu_runs_on("");
  const std::string second = relu_runs_on("relu=-" + preferred);
  CHECK(second != preferred);
  CHECK_FALSE(second.empty());
}

TEST_CASE("a forced implementation that is not there is named with the node", "[session]") {
  const Network n = small_network();
  CHECK_THROWS_WITH(Session(n.graph, {.kernels = KernelChoice("relu=abacus")}),
                    Catch::Contains("relu") && Catch::Contains("abacus"));
  CHECK_THROWS_AS(KernelChoice("relu"), UsageError);
}

TEST_CASE("an activation cannot be read: its memory is not its own", "[session]") {
  Network n = small_network();
  const Value hidden = relu(n.graph, n.y);
  Session session(n.graph, {});
  CHECK_THROWS_WITH(session.read(hidden), Catch::Contains("mark it as an output"));
}

TEST_CASE("writing another shape names both", "[session]") {
  const Network n = small_network();
  Session session(n.graph, {});
  CHECK_THROWS_WITH(session.write(n.x, Tensor({1, 8, 9, 3}, DType::f32)),
                    Catch::Contains("1x8x8x3") && Catch::Contains("1x8x9x3"));
}

TEST_CASE("a value used twice gets the sum of its gradients", "[session]") {
  register_kernels();
  const bool fixed = GENERATE(false, true);  // an address of its own, as parameters have
  Graph g;
  const Value x = g.input({1, 2, 2, 16}, DType::f32, "x");
  const Value dy = g.input({1, 2, 2, 32}, DType::f32, "dy");
  const auto home = std::make_shared<Buffer>(DeviceType::cpu, 4 * 16 * sizeof(float));
  const Value target =
      fixed ? g.external(home, 0, {1, 2, 2, 16}, DType::f32, "dx", Kind::features) : Value{};
  g.require_grad(x, target);
  const Value y = concat_channels(g, x, x);
  g.backward(y, dy);
  CHECK((g.grad(x) == target) == fixed);
  g.mark_output(g.grad(x));
  Session session(g, {});
  const Tensor upstream = random_image({1, 2, 2, 32}, 3);
  session.write(x, random_image({1, 2, 2, 16}, 4));
  session.write(dy, upstream);
  session.run();
  const Tensor dx = session.read(g.grad(x));
  for (size_t pixel = 0; pixel < 4; ++pixel) {
    for (size_t c = 0; c < 16; ++c) {
      const auto u = upstream.span<float>();
      CHECK(dx.span<float>()[pixel * 16 + c] == u[pixel * 32 + c] + u[pixel * 32 + 16 + c]);
    }
  }
}

TEST_CASE("mismatched shapes are refused when the graph is recorded", "[graph]") {
  Graph g;
  const Value x = g.input({1, 4, 4, 3}, DType::f32, "x");
  const Value w = g.input({5, 3, 3, 4}, DType::f32, "w", Kind::filter);
  CHECK_THROWS_WITH(conv2d(g, x, w, {}, {}), Catch::Contains("4 input channels"));
  const Value small = g.input({1, 1, 4, 3}, DType::f32, "small");
  CHECK_THROWS_WITH(max_pool2x2(g, small), Catch::Contains("too small"));
  CHECK_THROWS_WITH(concat_channels(g, x, small), Catch::Contains("cannot concatenate"));
}
