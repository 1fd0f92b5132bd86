// Problems of the losses. Their labels hold ignored pixels and classes that do not exist.
#pragma once

#include "engine/op/loss.h"
#include "tests/cases/shapes.h"
#include "tests/support/cases.h"

namespace unetd {

inline Signature describe_loss(const Shape& logits, int64_t classes, const char* weights,
                               DType dtype) {
  const int64_t pixels = logits.pixels();
  Signature s{
      {{"logits", logits, Kind::features, dtype, uniform(-8, 8)},
       {"labels", {logits.n, logits.h, logits.w, 1}, Kind::dense, DType::u8, labels(classes)}},
      {{.name = "loss",
        .shape = {},
        .kind = Kind::dense,
        .dtype = wide_type(dtype),
        .reduction = pixels * logits.c},
       {.name = "dlogits", .shape = logits, .dtype = dtype, .reduction = pixels}}};
  if (weights != nullptr) {
    s.in.push_back(
        {weights, vector_shape(logits.c), Kind::features, wide_type(dtype), uniform(0.5, 2)});
  }
  return s;
}
inline Signature describe(const CrossEntropy& p) {
  return describe_loss(p.logits, p.logits.c, p.weighted ? "weights" : nullptr, p.dtype);
}
inline Signature describe(const BceWithLogits& p) {
  return describe_loss(p.logits, p.logits.c == 1 ? 2 : p.logits.c,
                       p.weighted ? "pos_weight" : nullptr, p.dtype);
}

inline Signature describe(const TverskyLoss& p) {
  return describe_loss(p.logits, p.logits.c + p.first_label(), p.weighted ? "weights" : nullptr,
                       p.dtype);
}

inline std::string focal_text(float gamma) { return gamma == 0 ? "" : str("gamma ", gamma); }
inline std::string setting_of(const CrossEntropy& p) {
  return p.smoothing == 0 ? focal_text(p.gamma) : str("smoothing ", p.smoothing);
}
inline std::string setting_of(const BceWithLogits& p) { return focal_text(p.gamma); }
inline std::string setting_of(const TverskyLoss& p) {
  return p.activation == Activation::sigmoid ? "sigmoid" : "softmax";
}

template <class P>
Cases<P> loss_cases(const std::vector<Shape>& test) {
  Cases<P> all;
  for (const bool weighted : {false, true}) {
    for (const Shape& s : test) all.test.push_back({.logits = s, .weighted = weighted});
    all.test.push_back({.logits = test.back(), .weighted = weighted, .factor = 0.3F});
    all.test.push_back({.logits = many_pixels, .weighted = weighted});
    for (const float gamma : {0.5F, 2.F})
      all.test.push_back({.logits = {2, 5, 7, 3}, .weighted = weighted, .gamma = gamma});
    for (const Shape& s : net_logits()) {
      all.perf.push_back({.logits = s, .weighted = weighted});
      if (weighted) all.perf.push_back({.logits = s, .weighted = true, .gamma = 2});
    }
  }
  return all;
}
template <>
inline Cases<CrossEntropy> cases<CrossEntropy>() {
  Cases<CrossEntropy> all = loss_cases<CrossEntropy>(
      {{1, 1, 1, 2}, {2, 5, 7, 3}, {1, 16, 16, 4}, {2, 3, 9, 17}, {1, 8, 8, 16}, {1, 7, 6, 33}});
  for (const bool weighted : {false, true}) {
    for (const Shape& s : {Shape{1, 1, 1, 2}, {2, 5, 7, 3}, {1, 8, 8, 16}, {1, 7, 6, 33}})
      all.test.push_back({.logits = s, .weighted = weighted, .smoothing = 0.1F});
  }
  for (const Shape& s : net_logits()) all.perf.push_back({.logits = s, .smoothing = 0.1F});
  return all;
}
template <>
inline Cases<BceWithLogits> cases<BceWithLogits>() {
  return loss_cases<BceWithLogits>(
      {{1, 1, 1, 1}, {2, 5, 7, 1}, {1, 16, 16, 4}, {2, 3, 9, 17}, {1, 8, 8, 16}, {1, 7, 6, 33}});
}

// More channels than a warp sums at once, and a batch in which most of the classes are not there.
template <>
inline Cases<TverskyLoss> cases<TverskyLoss>() {
  Cases<TverskyLoss> all;
  const auto soft = [](const Shape& s) { return TverskyLoss{.logits = s}; };
  const auto sigmoid = [](const Shape& s) {
    return TverskyLoss{.logits = s,
                       .weighted = true,
                       .factor = 0.3F,
                       .activation = Activation::sigmoid,
                       .alpha = 0.3F,
                       .beta = 0.7F,
                       .smooth = 0.01F};
  };
  for (const Shape& s : {Shape{1, 1, 1, 1},
                         {1, 1, 1, 2},
                         {2, 5, 7, 1},
                         {2, 5, 7, 3},
                         {1, 16, 16, 4},
                         {2, 3, 9, 17},
                         {1, 8, 8, 16},
                         {1, 3, 5, 132}}) {
    all.test.push_back(soft(s));
    all.test.push_back(sigmoid(s));
  }
  all.test.push_back(soft(many_pixels));
  all.test.push_back(
      {.logits = {1, 7, 6, 33}, .weighted = true, .alpha = 0, .beta = 1, .smooth = 0});
  for (const Shape& s : net_logits()) {
    all.perf.push_back(soft(s));
    all.perf.push_back(sigmoid(s));
  }
  return all;
}

}  // namespace unetd
