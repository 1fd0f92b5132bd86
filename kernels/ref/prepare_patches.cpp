#include "engine/op/prepare_patches.h"

#include "engine/base/pixel_type.h"
#include "kernels/ref/ref.h"

namespace unetd::ref {
namespace {

template <class X, class Y, class L>
void prepare(const PreparePatches& p, const PreparePatches::Buffers& b) {
  const Shape& s = p.shape;
  const X* samples = static_cast<const X*>(b.samples);
  const L* labels = static_cast<const L*>(b.labels);
  L* turned = static_cast<L*>(b.turned_labels);
  const auto image = cleared<Features<Y>>(b.image, s);
  for_each_row(s, [&](int64_t n, int64_t h) {
    const PatchDraw& draw = b.draws[n];
    const Walk walk = walk_of(draw.symmetry, s.h, s.w);
    for (int64_t w = 0; w < s.w; ++w) {
      const int64_t pixel = n * s.h * s.w + walk.start + h * walk.row_step + w * walk.column_step;
      const bool erased = erases(draw, h, w);
      if (labels != nullptr) {
        turned[(n * s.h + h) * s.w + w] = erased ? ignored_label<L> : labels[pixel];
      }
      if (erased || b.valid[pixel] == 0) continue;
      for (int64_t c = 0; c < s.c; ++c) {
        const float y = normalised(static_cast<float>(samples[pixel * s.c + c]), b.bands[c]);
        image(n, h, w, c) = static_cast<Y>(drawn(y, b.band_draws[n * s.c + c]));
      }
    }
  });
}

void prepare_any(const PreparePatches& p, const PreparePatches::Buffers& b) {
  with_type(p.dtype, [&]<class Y>(Y) {
    with_pixel_type(p.samples, [&]<class X>(X) {
      with_label_type(p.labels, [&]<class L>(L) { prepare<X, Y, L>(p, b); });
    });
  });
}

}  // namespace

void register_prepare_patches() { add<prepare_any, PreparePatches>(); }

}  // namespace unetd::ref
