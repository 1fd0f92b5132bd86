// Fifty steps of gradient descent with each loss, against the same steps in PyTorch
// (tests/make_loss_fixtures.py): a 1x1 convolution is learnt whose parameters start there, too.
#include "engine/autograd/ops.h"
#include "engine/autograd/session.h"
#include "kernels/register.h"
#include "tests/support/data.h"
#include "tests/support/fixtures.h"

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

// What a loss takes: what the convolution gives, labels or targets, and weights or none.
struct Inputs {
  Value z, y, weights;
};
using Loss = std::function<Value(Graph&, const Inputs&)>;
using Norm = RegressionLoss::Norm;

Loss entropy(const EntropyOptions& options = {}) {
  return [=](Graph& g, const Inputs& in) {
    return cross_entropy(g, in.z, in.y, in.weights, {}, options);
  };
}
Loss bce(float gamma = 0) {
  return [=](Graph& g, const Inputs& in) {
    return bce_with_logits(g, in.z, in.y, in.weights, {}, gamma);
  };
}
Loss overlap(float alpha, float beta, float factor = 1) {
  return [=](Graph& g, const Inputs& in) {
    return tversky_loss(g, in.z, in.y, in.weights, {.alpha = alpha, .beta = beta},
                        {.factor = factor});
  };
}
// Weighted norms.
Loss regression(const std::vector<std::pair<Norm, float>>& terms) {
  return [=](Graph& g, const Inputs& in) {
    const Value sums = error_sums(g, in.z, in.y);
    Value loss;
    for (const auto& [norm, factor] : terms) {
      const Value term = regression_loss(g, in.z, in.y, sums, norm, {.factor = factor});
      loss = loss ? add_losses(g, loss, term) : term;
    }
    return loss;
  };
}
Loss sum_of(const Loss& a, const Loss& b) {
  return [=](Graph& g, const Inputs& in) { return add_losses(g, a(g, in), b(g, in)); };
}

// By the names of the fixture's cases.
std::map<std::string, Loss> all_losses() {
  return {{"cross_entropy", entropy()},
          {"cross_entropy_weighted", entropy()},
          {"cross_entropy_smoothed", entropy({.smoothing = 0.125F})},
          {"cross_entropy_focal", entropy({.gamma = 2})},
          {"bce", bce()},
          {"bce_weighted", bce()},
          {"bce_focal", bce(2)},
          {"dice", overlap(0.5F, 0.5F)},
          {"tversky", overlap(0.25F, 0.75F)},
          {"overlap", sum_of(entropy(), overlap(0.5F, 0.5F, 0.5F))},
          {"squared", regression({{Norm::squared, 1.F}})},
          {"absolute", regression({{Norm::absolute, 1.F}})},
          {"mass", regression({{Norm::mass, 1.F}})},
          {"regression",
           regression({{Norm::squared, 1.F}, {Norm::mass, 0.5F}, {Norm::absolute, 0.25F}})}};
}

// The convolution and its loss, in f32 or f64.
class Model {
 public:
  Model(const FixtureCase& f, const Loss& loss, DType dtype, const SessionOptions& options)
      : rate_(f.number("rate")) {
    const auto input = [&](const std::string& name, Kind kind, DType type) {
      return given_
          .emplace_back(graph_.input(f.shape(name), type, name, kind),
                        converted(f.tensor(name), type))
          .first;
    };
    const Value w = input("w", Kind::filter, dtype), b = input("b", Kind::features, dtype);
    const Value x = input("x", Kind::features, dtype);
    const Value y = f.has("labels") ? input("labels", Kind::dense, DType::u8)
                                    : input("targets", Kind::dense, DType::f32);
    const Value weights = f.has("weights") ? input("weights", Kind::features, dtype) : Value{};
    graph_.require_grad(w);
    graph_.require_grad(b);
    loss_ = loss(graph_, {conv2d(graph_, x, w, b, {}), y, weights});
    graph_.backward(loss_);
    for (const Value p : {w, b}) graph_.mark_output(graph_.grad(p));
    session_ = std::make_unique<Session>(graph_, options);
  }

  // One step; the loss before it.
  double step() {
    for (const auto& [value, tensor] : given_) session_->write(value, tensor);
    session_->run();
    for (size_t i = 0; i < 2; ++i) {
      auto& [value, tensor] = given_[i];
      const Tensor gradient = session_->read(graph_.grad(value));
      with_element(tensor.dtype(), [&]<class T>(T) {
        if constexpr (std::is_floating_point_v<T>) {
          for (size_t k = 0; k < tensor.span<T>().size(); ++k) {
            tensor.span<T>()[k] -= static_cast<T>(rate_) * gradient.span<T>()[k];
          }
        }
      });
    }
    return session_->scalar(loss_);
  }

 private:
  double rate_;
  Graph graph_;
  std::vector<std::pair<Value, Tensor>> given_;  // the parameters first
  Value loss_;
  std::unique_ptr<Session> session_;
};

}  // namespace

TEST_CASE("fixtures: fifty steps with each loss", "[ops][regression]") {
  register_kernels();
  struct Engine {
    DType dtype;
    SessionOptions options;
    double allowed;  // relative
    size_t steps = 50;
  };
  const std::vector<Engine> engines = {
      {DType::f64, {.kernels = KernelChoice("*=ref")}, 1e-10},
      {DType::f32, {.kernels = KernelChoice("*=ref")}, 1e-5},
      {DType::f32, {}, 1e-5},
      {DType::f32, {.device = DeviceType::simt}, 1e-5, 10},  // which takes its time
  };
  std::map<std::string, Loss> losses = all_losses();
  for (const FixtureCase& f : fixture_cases("loss_steps")) {
    INFO(f.name());
    REQUIRE(losses.contains(f.name()));
    const std::vector<double> want = doubles(f.tensor("losses"));
    REQUIRE(want.size() == 50);
    for (const Engine& engine : engines) {
      Model model(f, losses[f.name()], engine.dtype, engine.options);
      INFO(name_of(engine.dtype) << " on " << name_of(engine.options.device));
      for (size_t step = 0; step < engine.steps; ++step) {
        INFO("step " << step);
        CHECK(model.step() == Approx(want[step]).epsilon(engine.allowed));
      }
    }
    losses.erase(f.name());
  }
  CHECK(losses.empty());
}
