#include "engine/autograd/ops.h"
#include "engine/op/maxpool2x2.h"
#include "engine/op/resize_bilinear.h"
#include "engine/op/shape_ops.h"

namespace unetd {

Value max_pool2x2(Graph& g, Value x) {
  const auto xi = g.info(x);
  const MaxPool2x2 problem{xi.shape, xi.dtype};
  UNETD_CHECK(xi.shape.h >= 2 && xi.shape.w >= 2, xi.name, " of ", xi.shape,
              " is too small to pool");
  const Value y = g.value(problem.y(), xi.dtype, xi.name + ".pool");
  const Value argmax = g.value(problem.y(), DType::u8, xi.name + ".argmax");
  g.emit(problem, {x}, {y, argmax});
  g.on_backward(y, {x}, [=](Graph& b, Value dy) {
    const Value dx = b.new_grad(x);
    b.emit(MaxPool2x2Grad{xi.shape, xi.dtype}, {dy, argmax}, {dx});
    b.add_grad(x, dx);
  });
  return y;
}

Value resize_bilinear(Graph& g, Value x, const Resize& to) {
  const auto xi = g.info(x);
  const SceneWindow &from = to.from, &result = to.result;
  const ResizeGeometry geometry{.x = xi.shape,
                                .out_h = to.height,
                                .out_w = to.width,
                                .align_corners = to.align_corners,
                                .scene_h = from.scene_h,
                                .scene_w = from.scene_w,
                                .scene_out_h = result.scene_h,
                                .scene_out_w = result.scene_w,
                                .cell = from.cell,
                                .out_cell = result.cell};
  UNETD_CHECK(
      to.height > 0 && to.height <= 2 * xi.shape.h && to.width > 0 && to.width <= 2 * xi.shape.w,
      xi.name, " of ", xi.shape, " resized to ", to.height, "x", to.width,
      ": it may grow to twice its size");
  UNETD_CHECK(geometry.windowed() == static_cast<bool>(from.origin), xi.name,
              ": a window needs the scene's size and an origin");
  const Value y = g.value(geometry.y(), xi.dtype, xi.name + ".resize");
  g.emit(ResizeBilinear{geometry, xi.dtype}, {x, from.origin}, {y});
  if (geometry.windowed()) return y;  // tiles are inferred, not trained on
  g.on_backward(y, {x}, [=](Graph& b, Value dy) {
    const Value dx = b.new_grad(x);
    b.emit(ResizeBilinearGrad{geometry, xi.dtype}, {dy}, {dx});
    b.add_grad(x, dx);
  });
  return y;
}

Value upsample2x(Graph& g, Value x, bool align_corners) {
  const Shape s = g.info(x).shape;
  return resize_bilinear(g, x,
                         {.height = 2 * s.h, .width = 2 * s.w, .align_corners = align_corners});
}

Value concat_channels(Graph& g, Value a, Value b) {
  const auto ai = g.info(a), bi = g.info(b);
  UNETD_CHECK(ai.shape.n == bi.shape.n && ai.shape.h == bi.shape.h && ai.shape.w == bi.shape.w,
              "cannot concatenate ", ai.name, " of ", ai.shape, " and ", bi.name, " of ", bi.shape);
  const ConcatChannels problem{ai.shape, bi.shape.c, ai.dtype};
  const Value y = g.value(problem.y(), ai.dtype, ai.name + ".concat");
  g.emit(problem, {a, b}, {y});
  g.on_backward(y, {a, b}, [=](Graph& backward, Value dy) {
    const Value da = backward.new_grad(a), db = backward.new_grad(b);
    backward.emit(SplitChannels{ai.shape, bi.shape.c, ai.dtype}, {dy}, {da, db});
    if (backward.needs_grad(a)) backward.add_grad(a, da);
    if (backward.needs_grad(b)) backward.add_grad(b, db);
  });
  return y;
}

Value pad2d(Graph& g, Value x, const Padding& amounts) {
  const auto xi = g.info(x);
  const Pad2d problem{xi.shape, amounts.top, amounts.bottom, amounts.left, amounts.right, xi.dtype};
  UNETD_CHECK(problem.y().h > 0 && problem.y().w > 0, "cropping ", xi.name, " of ", xi.shape,
              " leaves nothing");
  const Value y = g.value(problem.y(), xi.dtype, xi.name + ".pad");
  g.emit(problem, {x}, {y});
  g.on_backward(y, {x}, [=](Graph& b, Value dy) {
    const Value dx = b.new_grad(x);
    b.emit(problem.inverse(), {dy}, {dx});
    b.add_grad(x, dx);
  });
  return y;
}

}  // namespace unetd
