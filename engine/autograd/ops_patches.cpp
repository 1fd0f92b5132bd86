#include "engine/autograd/ops.h"
#include "engine/base/pixel_type.h"
#include "engine/op/prepare_patches.h"

namespace unetd {
namespace {

void check_dense(const Graph& g, Value v, const Shape& shape, DType dtype) {
  const auto& info = g.info(v);
  UNETD_CHECK(info.kind == Kind::dense && info.shape == shape && info.dtype == dtype, info.name,
              " is ", name_of(info.dtype), " ", info.shape, ", wanted dense ", name_of(dtype), " ",
              shape);
}

}  // namespace

PreparedPatches prepare_patches(Graph& g, const RawPatches& raw, DType image) {
  const auto samples = g.info(raw.samples);
  const Shape s = samples.shape, pixels{s.n, s.h, s.w, 1};
  UNETD_CHECK(is_pixel_type(samples.dtype), samples.name, " is ", name_of(samples.dtype));
  check_dense(g, raw.samples, s, samples.dtype);
  check_dense(g, raw.valid, pixels, DType::u8);
  check_dense(g, raw.bands, {1, 1, s.c, constant_fields}, DType::f32);
  check_dense(g, raw.draws, {s.n, 1, 1, draw_fields}, DType::i32);
  check_dense(g, raw.band_draws, {s.n, 1, s.c, band_draw_fields}, DType::f32);
  PreparedPatches prepared{g.value(s, image, samples.name + ".prepared"), {}};
  PreparePatches problem{.shape = s, .samples = samples.dtype, .labelled = false, .dtype = image};
  if (raw.labels) {
    const auto labels = g.info(raw.labels);
    problem.labelled = true;
    problem.labels = labels.dtype == DType::f32 ? DType::f32 : DType::u8;
    check_dense(g, raw.labels, pixels, problem.labels);
    prepared.labels = g.value(pixels, labels.dtype, labels.name + ".turned", Kind::dense);
    if (labels.dtype == DType::f32) g.mark_gaps(prepared.labels);
  }
  g.emit(problem, {raw.samples, raw.valid, raw.bands, raw.draws, raw.band_draws, raw.labels},
         {prepared.image, prepared.labels});
  return prepared;
}

}  // namespace unetd
