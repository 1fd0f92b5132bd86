// Sums of errors and losses of regression: by hand, without targets, with values that are no
// numbers, and as operations of a graph.
#include "engine/autograd/ops.h"
#include "engine/autograd/session.h"
#include "engine/op/optimizer.h"
#include "kernels/register.h"
#include "tests/cases/prepare_patches.h"
#include "tests/cases/regression.h"
#include "tests/simt/emulated.h"
#include "tests/support/harness.h"

#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

using Norm = RegressionLoss::Norm;
constexpr std::array norms{Norm::squared, Norm::absolute, Norm::mass};
constexpr std::array devices{DeviceType::cpu, DeviceType::simt};
constexpr float infinity = std::numeric_limits<float>::infinity();

// Three images of two by two: some pixels with targets, none, all.
constexpr Shape shape{3, 2, 2, 1};
Tensor values() {
  return Tensor::from<float>(shape, std::vector<float>{1.F, 5, -2, 8, 1, 1, 1, 1, 0, 0, 3, 1});
}
Tensor targets() {
  return Tensor::from<float>(shape, std::vector<float>{3.F, 4, no_target, 8, no_target, no_target,
                                                       no_target, no_target, 1, 2, 3, -4});
}
// e: -2, 1, -, 0; none; -1, -2, 0, 5.
Tensor sums() {
  return Tensor::from<double>({3, 1, 1, error_fields},
                              std::vector<double>{3, -1, 3, 5, 15, 89, 0, 0, 0, 0, 0, 0,  //
                                                  4, 2, 8, 30, 2, 30});
}
// In the order of `norms`.
constexpr std::array losses{35. / 7, 11. / 7, (1. / 9 + 1. / 4) / 2};
std::vector<double> gradient_of(Norm norm) {
  const auto all = [](double unit, std::vector<double> of) {
    for (double& v : of) v *= unit;
    return of;
  };
  if (norm == Norm::squared) return all(2. / 7, {-2, 1, 0, 0, 0, 0, 0, 0, -1, -2, 0, 5});
  if (norm == Norm::absolute) return all(1. / 7, {-1, 1, 0, 0, 0, 0, 0, 0, -1, -1, 0, 1});
  return {-1. / 9, -1. / 9, 0,      -1. / 9, 0,      0,
          0,       0,       1. / 8, 1. / 8,  1. / 8, 1. / 8};  // 2 (sum of e / m) / (2 m)
}

// Everything wrong with every implementation.
template <class P>
std::vector<std::string> all_faults(const P& problem, const HostData& data,
                                    const std::vector<Tensor>& want) {
  register_kernels();
  std::vector<std::string> all;
  for (const DeviceType device : devices) {
    for (const Impl<P>& impl : impls<P>(device)) {
      if (impl.reject(problem) != nullptr) continue;
      for (const std::string& fault : faults_of(impl, problem, device, data, want)) {
        all.push_back(str(name_of(device), ' ', impl.name, ": ", fault));
      }
    }
  }
  return all;
}

HostData data_of(std::vector<Tensor> in, size_t outputs) {
  HostData data{.in = std::move(in), .out = {}};
  data.out.resize(outputs);
  return data;
}

}  // namespace

TEST_CASE("sums of errors are what one counts by hand", "[ops][regression]") {
  std::vector<Tensor> in, want;
  in.push_back(values());
  in.push_back(targets());
  want.push_back(sums());
  CHECK_THAT(all_faults(ErrorSums{.values = shape}, data_of(std::move(in), 1), want),
             Catch::Equals(std::vector<std::string>{}));
  const ImageErrors one{1, 2, 3, 4, 5, 6};
  CHECK(one + one == ImageErrors{2, 4, 6, 8, 10, 12});
}

TEST_CASE("losses of regression and their gradients are what one computes by hand",
          "[ops][regression]") {
  for (size_t i = 0; i < norms.size(); ++i) {
    for (const float factor : {1.F, 0.5F}) {
      INFO("norm " << i << ", factor " << factor);
      std::vector<Tensor> in, want;
      in.push_back(values());
      in.push_back(targets());
      in.push_back(sums());
      want.push_back(Tensor::from<double>({}, std::array{losses[i] * double{factor}}));
      std::vector<double> gradient = gradient_of(norms[i]);
      for (double& v : gradient) v *= double{factor};
      want.push_back(Tensor::from<double>(shape, gradient));
      const RegressionLoss problem{.values = shape, .norm = norms[i], .factor = factor};
      CHECK_THAT(all_faults(problem, data_of(std::move(in), 2), want),
                 Catch::Equals(std::vector<std::string>{}));
    }
  }
}

TEST_CASE("a loss of regression without targets is zero, and so is its gradient",
          "[ops][regression]") {
  for (const Norm norm : norms) {
    std::vector<Tensor> in, want;
    in.push_back(values());
    in.push_back(Tensor::from<float>(shape, std::vector<float>(12, no_target)));
    in.emplace_back(Shape{3, 1, 1, error_fields}, DType::f64);
    want.emplace_back(Shape{}, DType::f64);
    want.emplace_back(shape, DType::f64);
    CHECK_THAT(
        all_faults(RegressionLoss{.values = shape, .norm = norm}, data_of(std::move(in), 2), want),
        Catch::Equals(std::vector<std::string>{}));
  }
}

namespace {

// The losses of a batch as a graph: values and targets in, all else out.
struct LossGraph {
  Graph g;
  Value values, targets, sums, scale, loss;
  std::unique_ptr<Session> session;

  LossGraph(DeviceType device, const std::vector<Norm>& terms, float factor) {
    register_kernels();
    values = g.input(shape, DType::f32, "values");
    targets = g.input(shape, DType::f32, "targets", Kind::dense);
    scale = g.input({1, 1, 1, sizeof(LossScale) / sizeof(float)}, DType::f32, "scale", Kind::dense);
    g.require_grad(values);
    sums = error_sums(g, values, targets);
    g.mark_output(sums);
    for (const Norm norm : terms) {
      const Value term =
          regression_loss(g, values, targets, sums, norm, {.factor = factor, .loss_scale = scale});
      loss = loss ? add_losses(g, loss, term) : term;
    }
    g.backward(loss);
    g.mark_output(g.grad(values));
    session = std::make_unique<Session>(g, SessionOptions{.device = device, .separate = true});
  }
  double run(const Tensor& v) {
    session->write(values, v);
    session->write(targets, ::targets());
    session->write(scale, Tensor::from<float>(g.info(scale).shape, std::vector<float>{8, 0}));
    session->run();
    return session->scalar(loss);
  }
};

}  // namespace

TEST_CASE("a graph's losses of regression add up, their gradient is scaled",
          "[grads][regression]") {
  for (const DeviceType device : devices) {
    LossGraph graph(device, {norms.begin(), norms.end()}, 0.25F);
    CHECK(graph.run(values()) == Approx(0.25 * (losses[0] + losses[1] + losses[2])).epsilon(1e-6));
    CHECK(difference(graph.session->read(graph.sums), sums(), {0, 0}).empty());
    std::vector<double> want(12);
    for (const Norm norm : norms) {
      const std::vector<double> gradient = gradient_of(norm);
      for (size_t i = 0; i < want.size(); ++i) want[i] += 8 * 0.25 * gradient[i];
    }
    const Tensor gradient = graph.session->read(graph.g.grad(graph.values));
    CHECK(difference(gradient, Tensor::from<double>(shape, want), tolerance(DType::f32, 1)) == "");
  }
}

TEST_CASE("a value that is no number makes a loss of regression none, where it has a target",
          "[grads][regression]") {
  for (const DeviceType device : devices) {
    for (const Norm norm : norms) {
      LossGraph graph(device, {norm}, 1);
      for (const float bad : {std::nanf(""), infinity, -infinity}) {
        Tensor v = values();
        v.span<float>()[5] = bad;
        v.span<float>()[2] = bad;
        CHECK(graph.run(v) == Approx(losses[static_cast<size_t>(norm)]).epsilon(1e-6));
        v.span<float>()[9] = bad;
        CHECK_FALSE(std::isfinite(graph.run(v)));
        v.span<float>()[0] = -bad;
        CHECK_FALSE(std::isfinite(graph.run(v)));
      }
    }
  }
}

TEST_CASE("operations of regression refuse what does not fit", "[grads][regression]") {
  Graph g;
  const Value v = g.input(shape, DType::f32, "v"), t = g.input(shape, DType::f32, "t", Kind::dense);
  const Value two = g.input({3, 2, 2, 2}, DType::f32, "two");
  const Value bytes = g.input(shape, DType::u8, "bytes", Kind::dense);
  const Value other = g.input({2, 2, 2, 1}, DType::f32, "other", Kind::dense);
  CHECK_THAT(error_of([&] { error_sums(g, two, t); }),
             Catch::Contains("two of 3x2x2x2 has more than a value a pixel"));
  CHECK_THAT(error_of([&] { error_sums(g, v, bytes); }),
             Catch::Contains("bytes is u8 3x2x2x1, wanted dense f32 3x2x2x1"));
  CHECK_THAT(error_of([&] { error_sums(g, v, other); }), Catch::Contains("other is f32 2x2x2x1"));
  CHECK_THAT(error_of([&] { regression_loss(g, v, t, t, Norm::mass); }),
             Catch::Contains("t is f32 3x2x2x1, wanted dense f64 3x1x1x6"));
}

TEST_CASE("a target that is missing is no fault of a prepared patch", "[grads][regression]") {
  register_kernels();
  const PreparePatches problem{.shape = {3, 4, 4, 2}, .labels = DType::f32};
  const Signature signature = describe(problem);
  Graph g;
  std::vector<Value> in;
  for (const BufferSpec& spec : signature.in) {
    in.push_back(g.input(spec.shape, spec.dtype, spec.name, spec.kind));
  }
  const auto [image, turned] =
      prepare_patches(g, {in[0], in[1], in[2], in[3], in[4], in[5]}, DType::f32);
  CHECK(g.info(turned).dtype == DType::f32);
  g.mark_output(image);
  g.mark_output(turned);
  Session session(g, {});
  session.set_check_nan(true);
  const HostData data = make_data(signature);
  for (size_t i = 0; i < in.size(); ++i) session.write(in[i], data.in[i]);
  session.run();
  CHECK(difference(session.read(turned), reference(problem, data)[1], {0, 0}) == "");
  CHECK(std::isnan(session.read(turned).span<float>()[3]));
}
