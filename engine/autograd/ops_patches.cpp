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
  if (raw.labels) {
    check_dense(g, raw.labels, pixels, DType::u8);
    prepared.labels = g.value(pixels, DType::u8, g.info(raw.labels).name + ".turned", Kind::dense);
  }
  g.emit(PreparePatches{s, samples.dtype, static_cast<bool>(raw.labels), image},
         {raw.samples, raw.valid, raw.bands, raw.draws, raw.band_draws, raw.labels},
         {prepared.image, prepared.labels});
  return prepared;
}

}  // namespace unetd
