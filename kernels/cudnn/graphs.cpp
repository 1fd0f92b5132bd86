#include "kernels/cudnn/graphs.h"

namespace unetd::cudnn {
namespace {

using Compute = Graph::Compute;

std::string text_of(const ConvGeometry& g) {
  return str("x ", g.x, " w ", g.filter(), " stride ", g.stride, " pad ", g.pad);
}

std::string text_of(const UpConvGeometry& g) { return str("x ", g.x, " w ", g.filter()); }

template <class P>
Graph new_graph(const P& p, std::string_view epilogue = "") {
  return {str(P::name, ' ', name_of(p.dtype), ' ', text_of(p.geometry), epilogue), p.dtype};
}

// Declares y and appends what leads to it: convolve(result), then bias and ReLU if they are fused.
// Only the last of them is in memory.
template <class Convolve>
void finish(Graph& graph, const Shape& y, bool bias, bool relu, const Convolve& convolve) {
  const std::optional<size_t> b = bias ? std::optional(graph.vector(y.c)) : std::nullopt;
  const auto next = [&](bool last) { return last ? graph.image(y) : graph.intermediate(y); };
  size_t value = next(!bias && !relu);
  convolve(value);
  if (bias) {
    const size_t sum = next(!relu);
    graph.add(value, *b, sum);
    value = sum;
  }
  if (relu) graph.relu(value, next(true));
}

// The three tensors of a transposed convolution as the convolution whose transpose it is sees them:
// its image is the large one, y.
Graph::Convolution transposed(Compute compute, size_t x, size_t filter, size_t y) {
  return {.compute = compute, .image = y, .filter = filter, .result = x, .stride = 2, .pad = 0};
}

}  // namespace

Graph graph_of(const Conv2d& p, bool fused) {
  const ConvGeometry& g = p.geometry;
  const bool bias = fused && p.bias, relu = fused && p.relu;
  Graph graph = new_graph(p, str(bias ? " + bias" : "", relu ? " + relu" : ""));
  const size_t x = graph.image(g.x), w = graph.filter(g.filter());
  finish(graph, g.y(), bias, relu, [&](size_t y) {
    graph.convolution({Compute::result, x, w, y, g.stride, g.pad});
  });
  return graph;
}

Graph graph_of(const ConvTranspose2x2& p, bool fused) {
  const UpConvGeometry& g = p.geometry;
  const bool bias = fused && p.bias;
  Graph graph = new_graph(p, bias ? " + bias" : "");
  const size_t x = graph.image(g.x);
  const size_t w = bias ? graph.filter({g.x.c, 2, 2, g.k}) : graph.transposed_filter(g.filter());
  finish(graph, g.y(), bias, false,
         [&](size_t y) { graph.convolution(transposed(Compute::image, x, w, y)); });
  return graph;
}

Graph graph_of(const Conv2dStats& p) {
  const ConvGeometry& g = p.geometry;
  Graph graph = new_graph(p);
  const size_t x = graph.image(g.x), w = graph.filter(g.filter()), y = graph.image(g.y());
  const size_t sum = graph.vector(g.k), squares = graph.vector(g.k);
  graph.convolution({Compute::result, x, w, y, g.stride, g.pad});
  graph.statistics(y, sum, squares);
  return graph;
}

Graph graph_of(const Conv2dDataGrad& p) {
  const ConvGeometry& g = p.geometry;
  Graph graph = new_graph(p);
  const size_t dy = graph.image(g.y()), w = graph.filter(g.filter()), dx = graph.image(g.x);
  graph.convolution({Compute::image, dx, w, dy, g.stride, g.pad});
  return graph;
}

Graph graph_of(const Conv2dNormGrad& p) {
  const ConvGeometry& g = p.geometry;
  Graph graph = new_graph(p);
  const size_t dy = graph.image(g.y()), w = graph.filter(g.filter()), x = graph.image(g.x);
  const auto vector = [&] { return graph.vector(g.x.c); };
  const size_t gamma = vector(), beta = vector(), mean = vector(), rstd = vector();
  const auto passing = [&](const auto& record) {
    const size_t result = graph.intermediate(g.x);
    record(result);
    return result;
  };
  const size_t uncut = passing([&](size_t result) {
    graph.convolution({Compute::image, result, w, dy, g.stride, g.pad});
  });
  const size_t centred = passing([&](size_t result) { graph.subtract(x, mean, result); });
  const size_t xhat = passing([&](size_t result) { graph.multiply(centred, rstd, result); });
  const size_t scaled = passing([&](size_t result) { graph.multiply(xhat, gamma, result); });
  const size_t z = passing([&](size_t result) { graph.add(scaled, beta, result); });
  const size_t dz = graph.image(g.x);
  graph.relu_gradient(uncut, z, dz);
  graph.norm_gradient({.x = x,
                       .dy = dz,
                       .mean = mean,
                       .rstd = rstd,
                       .gamma = gamma,
                       .dgamma = vector(),
                       .dbeta = vector(),
                       .dy_factor = vector(),
                       .x_factor = vector(),
                       .constant = vector()});
  return graph;
}

Graph graph_of(const ConvTranspose2x2DataGrad& p) {
  const UpConvGeometry& g = p.geometry;
  Graph graph = new_graph(p);
  const size_t dy = graph.image(g.y()), w = graph.transposed_filter(g.filter());
  graph.convolution(transposed(Compute::result, graph.image(g.x), w, dy));
  return graph;
}

Graph graph_of(const Conv2dWeightGrad& p) {
  const ConvGeometry& g = p.geometry;
  Graph graph = new_graph(p);
  const size_t x = graph.image(g.x), dy = graph.image(g.y()), dw = graph.filter(g.filter());
  graph.convolution({Compute::filter, x, dw, dy, g.stride, g.pad});
  return graph;
}

Graph graph_of(const ConvTranspose2x2WeightGrad& p) {
  const UpConvGeometry& g = p.geometry;
  Graph graph = new_graph(p);
  const size_t x = graph.image(g.x), dy = graph.image(g.y());
  graph.convolution(transposed(Compute::filter, x, graph.transposed_filter(g.filter()), dy));
  return graph;
}

}  // namespace unetd::cudnn
