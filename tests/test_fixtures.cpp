// Every implementation of every operation, on every device of this build, against PyTorch.
#include "kernels/register.h"
#include "tests/cases/all.h"
#include "tests/support/fixtures.h"
#include "tests/support/harness.h"

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <set>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

// Where a fixture calls a tensor otherwise than the operation does: {"running_mean": "mean"}.
using Names = std::map<std::string, std::string>;

std::string in_fixture(const Names& names, const std::string& name) {
  const auto found = names.find(name);
  return found == names.end() ? name : found->second;
}

// The operation's buffers from the fixture. Outputs in place start from `before`.
HostData host_data(const FixtureCase& fixture, const Signature& signature, const Names& names,
                   const Names& before) {
  HostData data;
  for (const BufferSpec& spec : signature.in) {
    const std::string name = in_fixture(names, spec.name);
    data.in.push_back(spec.fill.rule == Fill::Rule::list && !fixture.has(name)
                          ? filled(spec, 0)
                          : converted(fixture.tensor(name), spec.dtype));
  }
  for (const BufferSpec& spec : signature.out) {
    data.out.push_back(spec.in_place ? converted(fixture.tensor(before.at(spec.name)), spec.dtype)
                                     : Tensor{});
  }
  return data;
}

template <class P>
void check_types(const P& problem, const FixtureCase& fixture, const std::vector<DType>& types,
                 const std::function<HostData(const Signature&)>& data, const Names& names) {
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    for (const DType dtype : types) {
      const P typed = with_dtype(problem, dtype);
      const Signature signature = describe(typed);
      std::vector<Tensor> want;
      for (const BufferSpec& spec : signature.out) {
        want.push_back(fixture.tensor(in_fixture(names, spec.name)));
      }
      for (const Impl<P>& impl : impls<P>(device)) {
        if (impl.reject(typed) != nullptr) continue;
        INFO(fixture.name() << " on " << name_of(device) << " by " << impl.name << ", "
                            << text_of(typed));
        CHECK(faults_of(impl, typed, device, data(signature), want) == std::vector<std::string>{});
      }
    }
  }
}

// In f32 and f64, inputs and expected outputs under the operation's names but for `names`.
template <class P>
void check(const P& problem, const FixtureCase& fixture, const Names& names = {}) {
  check_types(
      problem, fixture, {DType::f32, DType::f64},
      [&](const Signature& s) { return host_data(fixture, s, names, names); }, names);
}

}  // namespace

TEST_CASE("fixtures: convolution", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("conv2d")) {
    const Shape w = f.shape("w");
    const ConvGeometry geometry{f.shape("x"), w.n, w.h, w.w, f.integer("stride"), f.integer("pad")};
    REQUIRE(geometry.y() == f.shape("y"));
    const bool bias = f.integer("bias") != 0;
    check(Conv2d{.geometry = geometry, .bias = bias}, f);
    check(Conv2dDataGrad{.geometry = geometry}, f);
    check(Conv2dWeightGrad{.geometry = geometry, .bias = bias}, f);
  }
}

TEST_CASE("fixtures: transposed convolution", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("conv_transpose2x2")) {
    const UpConvGeometry geometry{f.shape("x"), f.shape("w").n};
    const bool bias = f.integer("bias") != 0;
    check(ConvTranspose2x2{.geometry = geometry, .bias = bias}, f);
    check(ConvTranspose2x2DataGrad{.geometry = geometry}, f);
    check(ConvTranspose2x2WeightGrad{.geometry = geometry, .bias = bias}, f);
  }
}

TEST_CASE("fixtures: batch norm", "[ops]") {
  register_kernels();
  const Names before{{"running_mean", "running_mean"}, {"running_var", "running_var"}};
  const Names after{{"running_mean", "running_mean_after"}, {"running_var", "running_var_after"}};
  for (const FixtureCase& f : fixture_cases("batch_norm")) {
    const BatchNormStats statistics{
        .shape = f.shape("x"), .eps = f.single("eps"), .momentum = f.single("momentum")};
    check_types(
        statistics, f, {DType::f32, DType::f64},
        [&](const Signature& s) { return host_data(f, s, {}, before); }, after);
    check(BatchNormApply{.shape = f.shape("x")}, f);
    check(BatchNormGrad{.shape = f.shape("x")}, f);
  }
  for (const FixtureCase& f : fixture_cases("batch_norm_inference")) {
    check(BatchNormInference{.shape = f.shape("x"), .eps = f.single("eps")}, f);
  }
}

TEST_CASE("fixtures: point-wise operations", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("relu")) {
    check(Relu{{.shape = f.shape("x")}}, f);
    check(ReluGrad{{.shape = f.shape("x")}}, f);
  }
  for (const FixtureCase& f : fixture_cases("sigmoid")) {
    check(Sigmoid{{.shape = f.shape("x")}}, f);
    check(SigmoidGrad{{.shape = f.shape("x")}}, f);
  }
  for (const FixtureCase& f : fixture_cases("softmax")) {
    check(Softmax{{.shape = f.shape("x")}}, f);
    check(SoftmaxGrad{{.shape = f.shape("x")}}, f);
  }
}

TEST_CASE("fixtures: dropout", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("dropout")) {
    const Dropout problem{.shape = f.shape("x"),
                          .rate = f.single("rate"),
                          .seed = static_cast<uint64_t>(f.integer("seed"))};
    check(problem, f);
    check(problem, f, {{"x", "dy"}, {"y", "dx"}});
  }
}

TEST_CASE("fixtures: pooling and resizing", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("maxpool2x2")) {
    check(MaxPool2x2{.x = f.shape("x")}, f);
    check(MaxPool2x2Grad{.x = f.shape("x")}, f);
  }
  for (const FixtureCase& f : fixture_cases("resize_bilinear")) {
    const Shape y = f.shape("y");
    const ResizeGeometry geometry{.x = f.shape("x"),
                                  .out_h = y.h,
                                  .out_w = y.w,
                                  .align_corners = f.integer("align_corners") != 0};
    check(ResizeBilinear{.geometry = geometry}, f);
    check(ResizeBilinearGrad{.geometry = geometry}, f);
  }
}

TEST_CASE("fixtures: concatenation, padding and cropping", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("concat_channels")) {
    const ConcatChannels forward{.a = f.shape("a"), .cb = f.shape("b").c};
    check(forward, f);
    check(SplitChannels{.a = forward.a, .cb = forward.cb}, f,
          {{"y", "dy"}, {"a", "da"}, {"b", "db"}});
  }
  for (const FixtureCase& f : fixture_cases("pad2d")) {
    const Pad2d forward{f.shape("x"), f.integer("top"), f.integer("bottom"), f.integer("left"),
                        f.integer("right")};
    check(forward, f);
    check(forward.inverse(), f, {{"x", "dy"}, {"y", "dx"}});
  }
}

TEST_CASE("fixtures: losses", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("cross_entropy")) {
    check(CrossEntropy{.logits = f.shape("logits"),
                       .weighted = f.has("weights"),
                       .smoothing = f.single("smoothing")},
          f);
  }
  for (const FixtureCase& f : fixture_cases("bce_with_logits")) {
    check(BceWithLogits{.logits = f.shape("logits"), .weighted = f.has("pos_weight")}, f);
  }
  for (const FixtureCase& f : fixture_cases("focal_loss")) {
    const Shape logits = f.shape("logits");
    const float gamma = f.single("gamma");
    if (f.integer("sigmoid") != 0) {
      check(BceWithLogits{.logits = logits, .weighted = f.has("pos_weight"), .gamma = gamma}, f);
    } else {
      check(CrossEntropy{.logits = logits, .weighted = f.has("weights"), .gamma = gamma}, f);
    }
  }
  for (const FixtureCase& f : fixture_cases("tversky_loss")) {
    check(TverskyLoss{.logits = f.shape("logits"),
                      .weighted = f.has("weights"),
                      .factor = f.single("factor"),
                      .activation = static_cast<Activation>(f.integer("sigmoid")),
                      .alpha = f.single("alpha"),
                      .beta = f.single("beta"),
                      .smooth = f.single("smooth")},
          f);
  }
}

TEST_CASE("fixtures: losses of regression", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("regression_loss")) {
    check(ErrorSums{.values = f.shape("values")}, f);
    check(RegressionLoss{.values = f.shape("values"),
                         .norm = static_cast<RegressionLoss::Norm>(f.integer("norm")),
                         .factor = f.single("factor")},
          f);
  }
}

TEST_CASE("fixtures: classes and confusion matrix", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("classify")) {
    check(Classify{.values = f.shape("values")}, f);
    check_types(ConfusionMatrix{.values = f.shape("values")}, f, {DType::f32, DType::f64},
                [&](const Signature& s) {
                  return host_data(f, s, {}, {{"counts", "counts_before"}});
                },
                {});
  }
  for (const FixtureCase& f : fixture_cases("probability_counts")) {
    const ProbabilityCounts problem{.values = f.shape("values"),
                                    .threshold = f.single("threshold")};
    check_types(problem, f, {DType::f32},
                [&](const Signature& s) {
                  return host_data(f, s, {}, {{"counts", "counts_before"}});
                },
                {});
  }
}

namespace {

// Row `t` of a fixture's matrix.
Tensor row(const Tensor& matrix, int64_t t) {
  const Tensor all = converted(matrix, DType::f64);
  const int64_t count = matrix.shape().c;
  return Tensor::from<double>(
      vector_shape(count),
      all.span<double>().subspan(static_cast<size_t>(t * count), static_cast<size_t>(count)));
}

OptimizerScalars scalars_of(const FixtureCase& f, int64_t t) {
  OptimizerScalars s{.learning_rate = f.single("lr")};
  if (f.has_number("momentum")) s.momentum = f.single("momentum");
  if (!f.has_number("beta1")) return s;
  s.momentum = f.single("beta1");
  if (f.has("rates")) {  // one cycle
    s.learning_rate = static_cast<float>(doubles(f.tensor("rates"))[static_cast<size_t>(t - 1)]);
    s.momentum = static_cast<float>(doubles(f.tensor("momenta"))[static_cast<size_t>(t - 1)]);
  }
  s.bias_correction1 = static_cast<float>(1 - std::pow(s.momentum, t));
  s.bias_correction2_sqrt =
      static_cast<float>(std::sqrt(1 - std::pow(static_cast<double>(f.single("beta2")), t)));
  return s;
}

// All steps of a case, one after another: parameters after each of them, states after the last.
template <class P>
void check_steps(const P& problem, const FixtureCase& f, DeviceType device, const Impl<P>& impl,
                 const Tolerance& allowed) {
  const Tensor grads = f.tensor("grads"), params = f.tensor("params");
  const Signature signature = describe(problem);
  HostData data = make_data(signature);
  const auto put = [&](Tensor& to, const BufferSpec& spec, const Tensor& value) {
    to = converted(value, spec.dtype);
  };
  put(data.in[2], signature.in[2], Tensor::from<double>(vector_shape(1), std::array{1.0}));
  put(data.out[0], signature.out[0], row(params, 0));
  for (size_t s = 1; s < data.out.size(); ++s)
    put(data.out[s], signature.out[s], Tensor(signature.out[s].shape, signature.out[s].dtype));
  for (int64_t t = 1; t < params.shape().w; ++t) {
    put(data.in[0], signature.in[0], row(grads, t - 1));
    const OptimizerScalars scalars = scalars_of(f, t);
    std::memcpy(data.in[1].data(), &scalars, sizeof scalars);
    const DeviceData buffers(signature, data, layout_of(device));
    run_on(problem, *impl.make(problem), device, buffers);
    for (size_t s = 0; s < data.out.size(); ++s)
      data.out[s] = unpack(buffers.out[s].data(), Kind::dense, layout_of(device),
                           signature.out[s].shape, signature.out[s].dtype);
    INFO("step " << t);
    CHECK(difference(data.out[0], row(params, t), allowed).empty());
  }
  for (size_t s = 1; s < data.out.size(); ++s) {
    INFO(signature.out[s].name);
    CHECK(difference(data.out[s], f.tensor(signature.out[s].name), allowed).empty());
  }
}

// `exact`: the f64 reference agrees with PyTorch's f64. It cannot where the step's scalars hold
// numbers rounded to f32.
template <class P>
void check_optimizer(const P& problem, const FixtureCase& f, bool exact) {
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      const P typed = with_dtype(problem, dtype);
      for (const Impl<P>& impl : impls<P>(device)) {
        if (impl.reject(typed) != nullptr) continue;
        INFO(f.name() << " on " << name_of(device) << " by " << impl.name << ", "
                      << text_of(typed));
        const double allowed = dtype == DType::f64 && exact ? 1e-10 : 1e-5;
        check_steps(typed, f, device, impl, {allowed, allowed});
      }
    }
  }
}

}  // namespace

TEST_CASE("fixtures: fifty steps of each optimiser", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("optimizers")) {
    const int64_t count = f.shape("params").c;
    const float decay = f.single("weight_decay");
    if (f.name().starts_with("adam")) {
      check_optimizer(AdamW{.count = count,
                            .beta2 = f.single("beta2"),
                            .eps = f.single("eps"),
                            .weight_decay = decay,
                            .coupled = !f.name().starts_with("adamw"),
                            .amsgrad = f.integer("amsgrad") != 0},
                      f, false);
    } else if (f.name().starts_with("sgd")) {
      check_optimizer(Sgd{.count = count,
                          .momentous = f.single("momentum") > 0,
                          .nesterov = f.integer("nesterov") != 0,
                          .weight_decay = decay},
                      f, true);
    } else {
      check_optimizer(RmsProp{.count = count,
                              .alpha = f.single("alpha"),
                              .eps = f.single("eps"),
                              .weight_decay = decay,
                              .momentous = f.single("momentum") > 0},
                      f, true);
    }
  }
}

TEST_CASE("fixtures: clipping by the global norm", "[ops]") {
  register_kernels();
  for (const FixtureCase& f : fixture_cases("clip_grad_norm")) {
    check(GlobalNorm{.count = f.shape("x").c}, f);
    const GradientFactor problem{.max_norm = f.single("max_norm")};
    for (const Impl<GradientFactor>& impl : impls<GradientFactor>(DeviceType::cpu)) {
      HostData data = make_data(describe(problem));
      data.out[1] = converted(f.tensor("norm"), DType::f32);
      const DeviceData buffers(describe(problem), data, Layout::nhwc);
      run_on(problem, *impl.make(problem), DeviceType::cpu, buffers);
      const Tensor factor =
          unpack(buffers.out[0].data(), Kind::dense, Layout::nhwc, vector_shape(1), DType::f32);
      Tensor clipped = converted(f.tensor("x"), DType::f32);
      for (float& x : clipped.span<float>()) x *= factor.span<float>()[0];
      INFO(f.name() << " by " << impl.name);
      CHECK(difference(clipped, f.tensor("clipped"), tolerance(DType::f32, 1)).empty());
    }
  }
}
