// Every differentiable operation against central differences, in f64 with the reference kernels,
// and the fused problems in their place.
//
// The function is L = sum(y * dy) with a random, fixed dy (a loss is its own L). Inputs are random
// and the steps tiny, so no kink of a ReLU or maximum lies within one.
#include "engine/autograd/ops.h"
#include "engine/autograd/session.h"
#include "kernels/register.h"
#include "tests/cases/regression.h"
#include "tests/support/harness.h"

#include <functional>
#include <numeric>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

constexpr double step = 1e-6;

struct GradCase {
  std::string name;
  std::vector<BufferSpec> inputs;
  size_t differentiated;  // the first so many inputs
  std::function<Value(Graph&, const std::vector<Value>&)> build;
  std::vector<std::string> fused = {};  // problems that must be among those that run
};

// A case as a session: L and its gradients by the inputs.
class GradGraph {
 public:
  explicit GradGraph(const GradCase& c) {
    for (const BufferSpec& spec : c.inputs) {
      inputs_.push_back(graph_.input(spec.shape, spec.dtype, spec.name, spec.kind));
      tensors_.push_back(filled(spec, inputs_.size()));
    }
    for (size_t i = 0; i < c.differentiated; ++i) graph_.require_grad(inputs_[i]);
    y_ = c.build(graph_, inputs_);
    graph_.mark_output(y_);
    const Graph::ValueInfo y = graph_.info(y_);
    Value dy;
    if (y.shape.count() > 1) {
      dy = graph_.input(y.shape, y.dtype, "dy");
      upstream_ = filled({.name = "dy", .shape = y.shape, .dtype = y.dtype}, 99);
    }
    graph_.backward(y_, dy);
    for (size_t i = 0; i < c.differentiated; ++i) graph_.mark_output(graph_.grad(inputs_[i]));
    session_ = std::make_unique<Session>(
        graph_, SessionOptions{.kernels = KernelChoice("*=ref"), .separate = true});
    if (dy) session_->write(dy, upstream_);
    for (const std::string& problem : c.fused) {
      const auto runs = [&](const Session::NodeReport& node) { return node.problem == problem; };
      CHECK(std::ranges::any_of(session_->report(), runs));
    }
  }

  std::span<double> input(size_t i) { return tensors_[i].span<double>(); }

  double value() {
    run();
    const Tensor y = session_->read(y_);
    if (upstream_.empty()) return y.span<double>()[0];
    const std::span<const double> a = y.span<double>(), b = upstream_.span<double>();
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  }

  std::vector<Tensor> gradients(size_t count) {
    run();
    std::vector<Tensor> all;
    for (size_t i = 0; i < count; ++i) all.push_back(session_->read(graph_.grad(inputs_[i])));
    return all;
  }

 private:
  void run() {
    for (size_t i = 0; i < inputs_.size(); ++i) session_->write(inputs_[i], tensors_[i]);
    session_->run();
  }

  Graph graph_;
  std::vector<Value> inputs_;
  std::vector<Tensor> tensors_;
  Value y_;
  Tensor upstream_;
  std::unique_ptr<Session> session_;
};

double central_difference(GradGraph& graph, size_t input, size_t element) {
  double& x = graph.input(input)[element];
  const double at = x;
  x = at + step;
  const double above = graph.value();
  x = at - step;
  const double below = graph.value();
  x = at;
  return (above - below) / (2 * step);
}

void check(const GradCase& c) {
  INFO(c.name);
  GradGraph graph(c);
  const std::vector<Tensor> gradients = graph.gradients(c.differentiated);
  for (size_t i = 0; i < c.differentiated; ++i) {
    const std::span<const double> gradient = gradients[i].span<double>();
    const double largest =
        std::abs(*std::ranges::max_element(gradient, {}, [](double v) { return std::abs(v); }));
    REQUIRE(largest > 0);
    // A stride without common factors with the shapes visits all rows, columns and channels.
    const size_t stride = gradient.size() <= 16 ? 1 : gradient.size() / 16 | 1;
    for (size_t element = 0; element < gradient.size(); element += stride) {
      INFO("by " << c.inputs[i].name << ", element " << element);
      CHECK(gradient[element] ==
            Approx(central_difference(graph, i, element)).epsilon(1e-6).margin(1e-7 * largest));
    }
  }
}

BufferSpec image(const char* name, Shape shape, Fill fill = {}) {
  return {.name = name, .shape = shape, .dtype = DType::f64, .fill = std::move(fill)};
}
BufferSpec vector(const char* name, int64_t c, Fill fill = {}) {
  return image(name, vector_shape(c), std::move(fill));
}
BufferSpec filter(Shape shape, Kind kind = Kind::filter) {
  return {.name = "w", .shape = shape, .kind = kind, .dtype = DType::f64};
}
BufferSpec label_map(Shape logits, int64_t classes) {
  return {.name = "labels",
          .shape = {logits.n, logits.h, logits.w, 1},
          .kind = Kind::dense,
          .dtype = DType::u8,
          .fill = labels(classes)};
}

GradCase conv_case(Shape x, Shape w, ConvOptions options, bool bias) {
  GradCase c{str("conv2d of ", x, " by ", w), {image("x", x), filter(w)}, 2, {}};
  if (bias) c.inputs.push_back(vector("bias", w.n));
  c.differentiated = c.inputs.size();
  c.build = [=](Graph& g, const std::vector<Value>& in) {
    return conv2d(g, in[0], in[1], bias ? in[2] : Value{}, options);
  };
  return c;
}

GradCase batch_norm_case(Shape x, bool relu) {
  return {relu ? "batch_norm with ReLU" : "batch_norm",
          {image("x", x, uniform(-1, 3)), vector("gamma", x.c, uniform(0.5, 2)),
           vector("beta", x.c), vector("running_mean", x.c), vector("running_var", x.c)},
          3,
          [=](Graph& g, const std::vector<Value>& in) {
            return batch_norm(g, in[0], {in[1], in[2], in[3], in[4]}, {.relu = relu});
          }};
}

using Unary = Value (*)(Graph&, Value);
GradCase unary_case(const char* name, Unary op) {
  return {name,
          {image("x", {2, 3, 5, 17}, uniform(-3, 3))},
          1,
          [=](Graph& g, const std::vector<Value>& in) { return op(g, in[0]); }};
}

using Loss = std::function<Value(Graph&, Value logits, Value labels, Value weights)>;
GradCase loss_case(const char* name, const Loss& loss, int64_t channels, bool weighted) {
  const Shape logits{2, 3, 4, channels};
  GradCase c{
      str(name, " of ", channels, weighted ? " channels, weighted" : " channels"),
      {image("logits", logits, uniform(-3, 3)), label_map(logits, std::max<int64_t>(channels, 2))},
      1,
      [=](Graph& g, const std::vector<Value>& in) {
        return loss(g, in[0], in[1], weighted ? in[2] : Value{});
      }};
  if (weighted) c.inputs.push_back(vector("weights", channels, uniform(0.5, 3)));
  return c;
}

Loss entropy(const EntropyOptions& options) {
  return [=](Graph& g, Value logits, Value labels, Value weights) {
    return cross_entropy(g, logits, labels, weights, {}, options);
  };
}
Loss bce(float gamma) {
  return [=](Graph& g, Value logits, Value labels, Value weights) {
    return bce_with_logits(g, logits, labels, weights, {}, gamma);
  };
}
Loss tversky(Activation activation) {
  const TverskyOptions options{activation, 0.3F, 0.7F, 0.5F};
  return [=](Graph& g, Value logits, Value labels, Value weights) {
    return tversky_loss(g, logits, labels, weights, options, {});
  };
}

}  // namespace

TEST_CASE("gradients of convolutions", "[grads]") {
  register_kernels();
  check(conv_case({2, 5, 6, 3}, {17, 3, 3, 3}, {.pad = 1}, true));
  check(conv_case({1, 4, 5, 18}, {5, 3, 3, 18}, {.pad = 1}, false));
  check(conv_case({1, 5, 6, 4}, {3, 1, 1, 4}, {}, true));
  check(conv_case({1, 7, 8, 2}, {3, 3, 3, 2}, {.stride = 2, .pad = 1}, true));
  check(conv_case({1, 6, 5, 2}, {3, 5, 5, 2}, {.pad = 2}, false));
  check(conv_case({1, 6, 5, 2}, {3, 3, 3, 2}, {}, true));
  check(conv_case({1, 5, 6, 2}, {3, 2, 3, 2}, {.stride = 3, .pad = 2}, true));
  check({"conv_transpose2x2",
         {image("x", {2, 3, 4, 5}), filter({17, 2, 2, 5}, Kind::transposed_filter),
          vector("bias", 17)},
         3,
         [](Graph& g, const std::vector<Value>& in) {
           return conv_transpose2x2(g, in[0], in[1], in[2]);
         }});
  check({"conv_transpose2x2 without bias",
         {image("x", {1, 2, 3, 18}), filter({2, 2, 2, 18}, Kind::transposed_filter)},
         2,
         [](Graph& g, const std::vector<Value>& in) {
           return conv_transpose2x2(g, in[0], in[1], {});
         }});
}

TEST_CASE("gradients of batch normalisation", "[grads]") {
  register_kernels();
  for (const bool relu : {false, true}) {
    check(batch_norm_case({2, 4, 5, 3}, relu));
    check(batch_norm_case({1, 3, 3, 17}, relu));
  }
}

TEST_CASE("gradients of batch normalisation and pooling, fused", "[grads]") {
  register_kernels();
  for (const Shape s : {Shape{2, 4, 6, 3}, Shape{1, 5, 7, 17}}) {
    GradCase c = batch_norm_case(s, true);
    c.name = str("batch_norm and max_pool2x2 of ", s);
    c.fused = {"batch_norm_apply_pool", "batch_norm_pool_grad"};
    c.build = [=](Graph& g, const std::vector<Value>& in) {
      const Value skip = batch_norm(g, in[0], {in[1], in[2], in[3], in[4]}, {.relu = true});
      const Value up = upsample2x(g, max_pool2x2(g, skip), true);
      return concat_channels(g, skip, pad2d(g, up, {0, s.h % 2, 0, s.w % 2}));
    };
    check(c);
  }
}

TEST_CASE("gradients of point-wise operations", "[grads]") {
  register_kernels();
  check(unary_case("relu", relu));
  check(unary_case("sigmoid", sigmoid));
  check(unary_case("softmax", softmax));
  check({"add",
         {image("a", {1, 3, 4, 5}), image("b", {1, 3, 4, 5})},
         2,
         [](Graph& g, const std::vector<Value>& in) { return add(g, in[0], in[1]); }});
  check({"dropout",
         {image("x", {2, 3, 4, 6}),
          {.name = "batch",
           .shape = vector_shape(1),
           .kind = Kind::dense,
           .dtype = DType::i64,
           .fill = list({7})}},
         1,
         [](Graph& g, const std::vector<Value>& in) {
           return dropout(g, in[0], in[1], {.rate = 0.4F, .seed = 3});
         }});
  check({"cast", {image("x", {1, 3, 4, 5})}, 1, [](Graph& g, const std::vector<Value>& in) {
           return cast(g, in[0], DType::bf16);
         }});
}

TEST_CASE("the gradient of a cast comes back in the type of its input", "[grads]") {
  register_kernels();
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    Graph g;
    const Shape shape{1, 2, 3, 5};
    const Value x = g.input(shape, DType::f32, "x"), dy = g.input(shape, DType::f32, "dy");
    g.require_grad(x);
    const Value half = cast(g, x, DType::bf16), y = cast(g, half, DType::f32);
    g.backward(y, dy);
    const Value dx = g.grad(x);
    CHECK(g.info(half).dtype == DType::bf16);
    CHECK(g.info(g.grad(half)).dtype == DType::bf16);
    CHECK(g.info(dx).dtype == DType::f32);
    g.mark_output(y);
    g.mark_output(dx);
    Session session(g, {.device = device, .separate = true});
    const auto all = [&](float value) {
      return Tensor::from<float>(shape, std::vector<float>(30, value));
    };
    session.write(x, all(0x1.018p0F));
    session.write(dy, all(0x1.038p0F));
    session.run();
    CHECK(session.read(y).span<float>()[7] == 0x1.02p0F);  // 7 bits behind the point
    CHECK(session.read(dx).span<float>()[29] == 0x1.04p0F);
  }
}

TEST_CASE("gradients of resampling and of shape operations", "[grads]") {
  register_kernels();
  for (const Shape s : {Shape{2, 4, 6, 3}, Shape{1, 5, 7, 17}}) {
    check(
        {str("max_pool2x2 of ", s), {image("x", s)}, 1, [](Graph& g, const std::vector<Value>& in) {
           return max_pool2x2(g, in[0]);
         }});
  }
  for (const bool align_corners : {true, false}) {
    for (const Shape s : {Shape{2, 3, 4, 3}, Shape{1, 1, 5, 17}}) {
      check({str("upsample2x of ", s),
             {image("x", s)},
             1,
             [=](Graph& g, const std::vector<Value>& in) {
               return upsample2x(g, in[0], align_corners);
             }});
    }
  }
  for (const bool align_corners : {true, false}) {
    check({"resize_bilinear",
           {image("x", {1, 4, 7, 5})},
           1,
           [=](Graph& g, const std::vector<Value>& in) {
             return resize_bilinear(g, in[0],
                                    {.height = 5, .width = 4, .align_corners = align_corners});
           }});
  }
  check({"concat_channels",
         {image("a", {2, 3, 4, 13}), image("b", {2, 3, 4, 7})},
         2,
         [](Graph& g, const std::vector<Value>& in) { return concat_channels(g, in[0], in[1]); }});
  for (const Padding amounts :
       {Padding{1, 2, 3, 0}, Padding{-1, -1, -2, 0}, Padding{2, -1, -1, 1}}) {
    check({"pad2d", {image("x", {2, 4, 5, 3})}, 1, [=](Graph& g, const std::vector<Value>& in) {
             return pad2d(g, in[0], amounts);
           }});
  }
}

TEST_CASE("gradients of losses", "[grads]") {
  register_kernels();
  for (const bool weighted : {false, true}) {
    for (const int64_t channels : {4, 17}) {
      check(loss_case("cross_entropy", entropy({}), channels, weighted));
      check(loss_case("focal cross_entropy", entropy({.gamma = 1.5F}), channels, weighted));
      check(loss_case("smoothed cross_entropy", entropy({.smoothing = 0.2F}), channels, weighted));
      check(loss_case("tversky_loss", tversky(Activation::softmax), channels, weighted));
    }
    for (const int64_t channels : {1, 4}) {
      check(loss_case("bce_with_logits", bce(0), channels, weighted));
      check(loss_case("focal bce_with_logits", bce(2), channels, weighted));
      check(loss_case("tversky_loss by sigmoid", tversky(Activation::sigmoid), channels, weighted));
    }
  }
}

TEST_CASE("gradients of sums of losses", "[grads]") {
  register_kernels();
  const Loss sum = [](Graph& g, Value logits, Value labels, Value weights) {
    const Value overlap =
        tversky_loss(g, logits, labels, weights, {.alpha = 0.2F}, {.factor = 0.5F});
    const Value entropy = cross_entropy(g, logits, labels, weights, {.factor = 2});
    return add_losses(g, add_losses(g, overlap, entropy), cross_entropy(g, logits, labels, {}));
  };
  for (const bool weighted : {false, true}) check(loss_case("three losses", sum, 4, weighted));
}

TEST_CASE("gradients of losses of regression, through their sums", "[grads]") {
  register_kernels();
  using Norm = RegressionLoss::Norm;
  const Shape s{4, 3, 5, 1};
  const auto check_terms = [&](const char* name, const std::vector<std::pair<Norm, float>>& terms) {
    check({name,
           {image("x", {s.n, s.h, s.w, 3}), filter({1, 1, 1, 3}), vector("bias", 1),
            describe_targets(s)},
           3,
           [=](Graph& g, const std::vector<Value>& in) {
             const Value values = conv2d(g, in[0], in[1], in[2], {});
             const Value sums = error_sums(g, values, in[3]);
             Value loss;
             for (const auto& [norm, factor] : terms) {
               const Value term = regression_loss(g, values, in[3], sums, norm, {.factor = factor});
               loss = loss ? add_losses(g, loss, term) : term;
             }
             return loss;
           }});
  };
  check_terms("squared errors", {{Norm::squared, 1.F}});
  check_terms("absolute errors", {{Norm::absolute, 1.F}});
  check_terms("mass", {{Norm::mass, 1.F}});
  check_terms("all three", {{Norm::mass, 0.5F}, {Norm::squared, 2.F}, {Norm::absolute, 0.25F}});
}

TEST_CASE("gradients of a value with several uses add up", "[grads]") {
  register_kernels();
  check({"x + x", {image("x", {1, 2, 3, 4})}, 1, [](Graph& g, const std::vector<Value>& in) {
           return add(g, in[0], in[0]);
         }});
  check({"x beside itself",
         {image("x", {1, 2, 3, 4})},
         1,
         [](Graph& g, const std::vector<Value>& in) { return concat_channels(g, in[0], in[0]); }});
  check({"a skip connection, three uses",
         {image("x", {1, 4, 4, 3}), filter({3, 3, 3, 3})},
         2,
         [](Graph& g, const std::vector<Value>& in) {
           const Value inner = conv2d(g, in[0], in[1], {}, {.pad = 1});
           const Value deep = upsample2x(g, max_pool2x2(g, sigmoid(g, inner)), true);
           return add(g, concat_channels(g, inner, deep), concat_channels(g, in[0], inner));
         }});
}

TEST_CASE("gradients of a small UNet with its loss", "[grads]") {
  register_kernels();
  const Shape x{2, 4, 6, 3};
  check({"UNet",
         {image("x", x), filter({4, 3, 3, 3}), vector("gamma", 4, uniform(0.5, 2)),
          vector("beta", 4), filter({2, 2, 2, 4}, Kind::transposed_filter), filter({3, 1, 1, 6}),
          vector("running_mean", 4), vector("running_var", 4), label_map(x, 3)},
         6,
         [](Graph& g, const std::vector<Value>& in) {
           const Value skip = batch_norm(g, conv2d(g, in[0], in[1], {}, {.pad = 1}),
                                         {in[2], in[3], in[6], in[7]}, {.relu = true});
           const Value up = conv_transpose2x2(g, max_pool2x2(g, skip), in[4], {});
           const Value logits = conv2d(g, concat_channels(g, skip, up), in[5], {}, {});
           return cross_entropy(g, logits, in[8], {});
         }});
}
