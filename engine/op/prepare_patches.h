// Raw patches made a network's input on the device that trains on them: turned, normalised,
// augmented and put into the image's type and layout in one pass, their labels turned alike.
//
// Pixel (h, w) of patch n comes from where its symmetry says (walk_of), by the functions of
// engine/tensor/patches.h:
//   image[n, h, w, c] = drawn(normalised(sample of band c, bands[c]), band_draws[n, c])
//                       or 0 where valid is 0 or (h, w) is erased
//   turned_labels[n, h, w] = label, or where (h, w) is erased what is ignored: 255, of f32 NaN
// Values are computed in f32, whatever the types, and rounded to the image's once. f32 images of
// linear normalisation are the same on all devices, to the last bit.
#pragma once

#include "engine/op/loss.h"
#include "engine/op/registry.h"
#include "engine/op/regression.h"
#include "engine/tensor/patches.h"

namespace unetd {

// All buffers but the image are dense. samples: (n, h, w, c) of `samples`, which is u8, u16, i16 or
// f32; valid: u8 (n, h, w, 1), 0 where there is no data (samples may then be anything, NaN too);
// bands: BandConstants, f32 (1, 1, c, 7); draws: PatchDraw, i32 (n, 1, 1, 5), transposing ones only
// where h = w; band_draws: BandDraw, f32 (n, 1, c, 2); labels: (n, h, w, 1) of `labels`, which is
// u8 or f32 (targets of a regression); turned_labels: as labels.
struct PreparePatches {
  static constexpr const char* name = "prepare_patches";
  Shape shape;  // of samples and image
  DType samples = DType::u16;
  bool labelled = true;  // are there labels to turn?
  DType labels = DType::u8;
  DType dtype = DType::f32;  // of the image

  bool operator==(const PreparePatches&) const = default;
  struct Buffers {
    const void* samples;
    const uint8_t* valid;
    const BandConstants* bands;
    const PatchDraw* draws;
    const BandDraw* band_draws;
    const void* labels;  // or null
    void* image;
    void* turned_labels;  // or null
  };
  Buffers bind(In in, Out out) const {
    return {in[0],
            static_cast<const uint8_t*>(in[1]),
            static_cast<const BandConstants*>(in[2]),
            static_cast<const PatchDraw*>(in[3]),
            static_cast<const BandDraw*>(in[4]),
            labelled ? in[5] : nullptr,
            out[0],
            labelled ? out[1] : nullptr};
  }
};

// What a label is where a patch is erased.
template <class Label>
inline constexpr Label ignored_label = ignore_label;
template <>
inline constexpr float ignored_label<float> = no_target;

// Calls f(Label{}) with the C++ type of labels.
template <class F>
void with_label_type(DType labels, F&& f) {
  UNETD_CHECK(labels == DType::u8 || labels == DType::f32, "labels of ", name_of(labels));
  if (labels == DType::f32) return f(float{});
  f(uint8_t{});
}

// Of how many elements the records consist, as tensors hold them.
inline constexpr int64_t constant_fields = sizeof(BandConstants) / sizeof(float);
inline constexpr int64_t draw_fields = sizeof(PatchDraw) / sizeof(int32_t);
inline constexpr int64_t band_draw_fields = sizeof(BandDraw) / sizeof(float);

}  // namespace unetd
