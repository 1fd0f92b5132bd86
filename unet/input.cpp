#include "unet/input.h"

#include "engine/op/prepare_patches.h"

namespace unetd {
namespace {

// Kernels follow symmetries wherever they lead.
void check_symmetries(const Draws& draws, const Shape& s) {
  const int32_t end = s.h == s.w ? symmetries : transposing;
  for (const PatchDraw& draw : draws.patches) {
    UNETD_CHECK(draw.symmetry >= 0 && draw.symmetry < end, "symmetry ", draw.symmetry,
                " of patches of ", s);
  }
}

}  // namespace

NetworkInput record_input(Graph& g, const Shape& s, const InputTypes& types) {
  NetworkInput input;
  RawPatches& from = input.raw;
  if (types.labels) from.labels = g.input({s.n, s.h, s.w, 1}, *types.labels, "labels", Kind::dense);
  if (!types.raw) {
    from.samples = g.input(s, DType::f32, "image");
    input.image = from.samples;
    input.labels = from.labels;
    return input;
  }
  from.samples = g.input(s, *types.raw, "image", Kind::dense);
  from.valid = g.input({s.n, s.h, s.w, 1}, DType::u8, "valid", Kind::dense);
  from.bands = g.input({1, 1, s.c, constant_fields}, DType::f32, "bands", Kind::dense);
  from.draws = g.input({s.n, 1, 1, draw_fields}, DType::i32, "draws", Kind::dense);
  from.band_draws = g.input({s.n, 1, s.c, band_draw_fields}, DType::f32, "band_draws", Kind::dense);
  const PreparedPatches prepared = prepare_patches(g, from, types.image);
  input.image = prepared.image;
  input.labels = prepared.labels;
  return input;
}

void write_input(Session& session, const NetworkInput& input, const Images& images,
                 Session::Write when) {
  const RawPatches& to = input.raw;
  UNETD_CHECK(images.raw().has_value() == static_cast<bool>(to.valid),
              "the network was recorded for ", to.valid ? "raw" : "normalised",
              " images and is given ", to.valid ? "normalised" : "raw", " ones");
  session.write(to.samples, *images.samples, when);
  if (!to.valid) return;
  session.write(to.valid, *images.valid, when);
  session.write_dense(to.bands, std::as_bytes(images.bands), when);
  const Draws none = images.draws ? Draws{} : Draws::none(images.shape().n, images.shape().c);
  const Draws& draws = images.draws ? *images.draws : none;
  check_symmetries(draws, images.shape());
  session.write_dense(to.draws, std::as_bytes(std::span(draws.patches)), when);
  session.write_dense(to.band_draws, std::as_bytes(std::span(draws.bands)), when);
}

void write_input(Session& session, const NetworkInput& input, const Images& images,
                 const Tensor& labels, Session::Write when) {
  write_input(session, input, images, when);
  session.write(input.raw.labels, labels, when);
}

}  // namespace unetd
