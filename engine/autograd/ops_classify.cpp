#include "engine/autograd/ops.h"
#include "engine/op/blend_tile.h"
#include "engine/op/classify.h"

namespace unetd {
namespace {

Shape labels_shape(const Graph::ValueInfo& values) {
  UNETD_CHECK(values.shape.c <= most_classes, values.name, " has ", values.shape.c,
              " channels; a byte tells ", most_classes, " classes apart");
  return {values.shape.n, values.shape.h, values.shape.w, 1};
}

void check_dense(const Graph& g, Value v, const Shape& shape, DType dtype) {
  const auto& info = g.info(v);
  UNETD_CHECK(info.shape == shape && info.dtype == dtype && info.kind == Kind::dense, info.name,
              " is ", name_of(info.dtype), " ", info.shape, ", wanted dense ", name_of(dtype), " ",
              shape);
}

}  // namespace

Value classify(Graph& g, Value values, float threshold, Value classes) {
  const auto vi = g.info(values);
  if (!classes) classes = g.value(labels_shape(vi), DType::u8, vi.name + ".class", Kind::dense);
  check_dense(g, classes, labels_shape(vi), DType::u8);
  g.emit(Classify{vi.shape, vi.kind, threshold, vi.dtype}, {values}, {classes});
  return classes;
}

void confusion_matrix(Graph& g, Value values, Value labels, float threshold, Value counts) {
  const auto& vi = g.info(values);
  const ConfusionMatrix problem{vi.shape, vi.kind, threshold, vi.dtype};
  check_dense(g, labels, labels_shape(vi), DType::u8);
  check_dense(g, counts, {1, 1, problem.classes(), problem.classes()}, DType::i64);
  g.emit(problem, {values, labels}, {counts});
}

void probability_counts(Graph& g, Value probabilities, Value labels, float threshold,
                        Value counts) {
  const auto& vi = g.info(probabilities);
  const ProbabilityCounts problem{vi.shape, vi.kind, threshold, vi.dtype};
  check_dense(g, labels, labels_shape(vi), DType::u8);
  check_dense(g, counts, {1, 1, 1, problem.count()}, DType::i64);
  g.emit(problem, {probabilities, labels}, {counts});
}

void blend_tile(Graph& g, Value values, const TilePlacement& placement, Value sums) {
  const auto& vi = g.info(values);
  const Shape band = g.info(sums).shape;
  const BlendTile problem{vi.shape, band.h, band.w, vi.dtype};
  check_dense(g, sums, problem.sums(), wide_type(vi.dtype));
  check_dense(g, placement.weights, {1, 1, 2, problem.side()}, DType::f32);
  check_dense(g, placement.place, {1, 1, 1, 3}, DType::i32);
  g.emit(problem, {values, placement.weights, placement.place}, {sums});
}

}  // namespace unetd
