// Problems of preparing raw patches: every type of samples and labels, every symmetry, constants
// with and without a clip.
#pragma once

#include "engine/op/prepare_patches.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

#include <cmath>

namespace unetd {

inline Fill sample_fill(DType samples) {
  switch (samples) {
    case DType::u8:
      return integers(0, 255);
    case DType::i16:
      return integers(-32768, 32767);
    case DType::f32:
      return uniform(-2, 2);
    default:
      return integers(0, 65535);
  }
}

// All eight symmetries in turn; patches that are not square are not transposed. Every other patch
// has a rectangle erased, which may reach the border.
inline std::vector<double> draw_list(const Shape& s) {
  const int64_t all = s.h == s.w ? symmetries : transposing;
  std::vector<double> draws;
  for (int64_t n = 0; n < s.n; ++n) {
    const int64_t erased = n % 2;
    for (const int64_t field :
         {(n + all - 1) % all, s.h / 3, s.w / 2, erased * (s.h / 2), erased * (s.w - s.w / 2)}) {
      draws.push_back(static_cast<double>(field));
    }
  }
  return draws;
}

// An offset of each patch's and band's own; one band in five is blanked.
inline std::vector<double> band_draw_list(const Shape& s) {
  std::vector<double> draws;
  for (int64_t i = 0; i < s.n * s.c; ++i) {
    draws.push_back(static_cast<double>(i % 7) / 8 - 0.25);
    draws.push_back(i % 5 == 3 ? 0 : 1);
  }
  return draws;
}

// A shift and a scale of each band's own that bring samples to a few units; every other band is
// clipped.
inline std::vector<double> constant_list(const Fill& samples, int64_t bands) {
  std::vector<double> constants;
  for (int64_t c = 0; c < bands; ++c) {
    const double share = static_cast<double>(c + 1) / static_cast<double>(bands + 1);
    const double scale = (1 + share) * 4 / (samples.high - samples.low);
    const double clip = c % 2 == 0 ? INFINITY : 1;
    for (const double value : {samples.low + share * (samples.high - samples.low), scale, -clip,
                               clip / 2, 0.0, 0.0, 0.0}) {
      constants.push_back(value);
    }
  }
  return constants;
}

// Of f32 as well: every seventh is ignored.
inline BufferSpec describe_labels(const Shape& pixels, DType dtype) {
  BufferSpec spec{"labels", pixels, Kind::dense, dtype, labels(4)};
  if (dtype == DType::u8) return spec;
  std::vector<double> targets;
  for (int64_t i = 0; i < pixels.count(); ++i) {
    targets.push_back(i % 7 == 3 ? no_target : static_cast<double>(i) / 8 - 3);
  }
  spec.fill = list(std::move(targets));
  return spec;
}

inline Signature describe(const PreparePatches& p) {
  const Shape &s = p.shape, pixels{s.n, s.h, s.w, 1};
  const Fill samples = sample_fill(p.samples);
  Signature all{{{"samples", s, Kind::dense, p.samples, samples},
                 {"valid", pixels, Kind::dense, DType::u8, integers(0, 4)},
                 {"bands",
                  {1, 1, s.c, constant_fields},
                  Kind::dense,
                  DType::f32,
                  list(constant_list(samples, s.c))},
                 {"draws", {s.n, 1, 1, draw_fields}, Kind::dense, DType::i32, list(draw_list(s))},
                 {"band_draws",
                  {s.n, 1, s.c, band_draw_fields},
                  Kind::dense,
                  DType::f32,
                  list(band_draw_list(s))}},
                {{.name = "image", .shape = s, .dtype = p.dtype, .reduction = 0}}};
  if (!p.labelled) return all;
  all.in.push_back(describe_labels(pixels, p.labels));
  all.out.push_back({.name = "turned_labels",
                     .shape = pixels,
                     .kind = Kind::dense,
                     .dtype = p.labels,
                     .reduction = 0});
  return all;
}

template <>
inline Cases<PreparePatches> cases<PreparePatches>() {
  Cases<PreparePatches> all;
  std::vector<Shape> shapes = edge_shapes();
  shapes.push_back({9, 5, 5, 13});    // each symmetry
  shapes.push_back({8, 4, 4, 13});    // rows that fill packs of 16 bytes
  shapes.push_back({8, 3, 3, 33});    // several blocks of channels
  shapes.push_back({1, 5, 300, 4});   // more packs a row than threads a block
  shapes.push_back({2, 1200, 1, 3});  // so many rows that a GPU thread takes several
  for (const Shape& s : shapes) {
    all.test.push_back({.shape = s});
    all.test.push_back({.shape = s, .labels = DType::f32});
  }
  for (const DType samples : {DType::u8, DType::i16, DType::f32}) {
    all.test.push_back({.shape = {8, 8, 8, 13}, .samples = samples});
    all.test.push_back({.shape = {2, 3, 7, 5}, .samples = samples, .labelled = false});
  }
  all.perf.push_back({.shape = {16, 256, 256, 13}});
  all.perf.push_back({.shape = {16, 256, 256, 13}, .labels = DType::f32});
  return all;
}

}  // namespace unetd
