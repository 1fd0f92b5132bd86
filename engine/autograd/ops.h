// The differentiable operations: each checks its inputs' shapes, records a forward node and leaves
// the closure that records its gradient. Shapes and formulas are those of the problems in
// engine/op. A mismatch throws Error with the names and extents at hand.
#pragma once

#include "engine/autograd/graph.h"
#include "engine/op/loss.h"
#include "engine/op/regression.h"

namespace unetd {

struct ConvOptions {
  int64_t stride = 1, pad = 0;
  bool relu = false;  // fused; for inference graphs only: it has no gradient
};
// w: kind filter, (k, r, s, c); bias: (1, 1, 1, k) or absent.
Value conv2d(Graph& g, Value x, Value w, Value bias, const ConvOptions& options);
// w: kind transposed_filter, (k, 2, 2, c); doubles height and width.
Value conv_transpose2x2(Graph& g, Value x, Value w, Value bias);

// Scale, shift and running statistics, each (1, 1, 1, c).
struct BatchNormValues {
  Value gamma, beta, running_mean, running_var;
};
struct BatchNormOptions {
  float eps = 1e-5F, momentum = 0.1F;
  bool relu = false;  // fused, with its gradient
};
// Training mode: batch statistics; the running ones are updated when the graph runs.
Value batch_norm(Graph& g, Value x, const BatchNormValues& p, const BatchNormOptions& options);
// Evaluation mode: running statistics. It has no gradient.
Value batch_norm_inference(Graph& g, Value x, const BatchNormValues& p,
                           const BatchNormOptions& options);

Value relu(Graph& g, Value x);
Value sigmoid(Graph& g, Value x);
Value softmax(Graph& g, Value x);
Value add(Graph& g, Value a, Value b);
struct DropoutOptions {
  float rate = 0.5F;
  uint64_t seed = 0;
};
// `batch`: dense i64 (1, 1, 1, 1), another number for every batch (engine/op/dropout.h).
Value dropout(Graph& g, Value x, Value batch, const DropoutOptions& options);
// In another storage type: f32, bf16 or f16. f64 stays f64.
Value cast(Graph& g, Value x, DType to);

// Halves height and width, rounding down.
Value max_pool2x2(Graph& g, Value x);

// Where a tile lies in its scene (engine/op/resize_bilinear.h).
struct SceneWindow {
  int64_t scene_h = 0, scene_w = 0;  // of the whole image at this level; 0: x is the whole image
  int64_t cell = 1;
  Value origin;  // dense i32 (1, 1, 1, 2): y, x in pixels of the network's input
};
// At most to twice the size. The windows of x and of the result differ in extents and cell only;
// they have no gradient.
struct Resize {
  int64_t height = 0, width = 0;
  bool align_corners = false;
  SceneWindow from = {}, result = {};
};
Value resize_bilinear(Graph& g, Value x, const Resize& to);
Value upsample2x(Graph& g, Value x, bool align_corners);

Value concat_channels(Graph& g, Value a, Value b);
// Negative amounts crop.
struct Padding {
  int64_t top = 0, bottom = 0, left = 0, right = 0;
};
Value pad2d(Graph& g, Value x, const Padding& amounts);

// Raw patches and what is needed to make them the network's input: the dense buffers of
// PreparePatches (engine/op/prepare_patches.h). `labels`, u8 or f32, may be absent.
struct RawPatches {
  Value samples, valid, bands, draws, band_draws, labels;
};
// The image in f32, bf16 or f16, and the labels turned alike, in their type. It has no gradient.
struct PreparedPatches {
  Value image, labels;
};
PreparedPatches prepare_patches(Graph& g, const RawPatches& raw, DType image);

struct LossOptions {
  float factor = 1;       // of value and gradient
  Value loss_scale = {};  // a LossScale (engine/op/optimizer.h) or absent: of the gradient alone
};
// Losses over the valid pixels (engine/op/loss.h): a scalar value from logits and dense u8 labels
// of one channel. `weights` may be absent. gamma above 0 makes a focal loss; a loss is not both
// focal and smoothed.
struct EntropyOptions {
  float gamma = 0, smoothing = 0;
};
Value cross_entropy(Graph& g, Value logits, Value labels, Value weights,
                    const LossOptions& options = {}, const EntropyOptions& entropy = {});
Value bce_with_logits(Graph& g, Value logits, Value labels, Value pos_weight,
                      const LossOptions& options = {}, float gamma = 0);
struct TverskyOptions {
  Activation activation = Activation::softmax;
  float alpha = 0.5F, beta = 0.5F;  // of false positives and of false negatives
  float smooth = 1;
};
Value tversky_loss(Graph& g, Value logits, Value labels, Value weights,
                   const TverskyOptions& tversky, const LossOptions& options = {});
// Of regression (engine/op/regression.h): values of one channel, dense f32 targets, NaN where there
// is none. `sums` are error_sums of both, dense f64; several losses may share them. They have no
// gradient of their own: a loss's goes through them.
Value error_sums(Graph& g, Value values, Value targets);
Value regression_loss(Graph& g, Value values, Value targets, Value sums, RegressionLoss::Norm norm,
                      const LossOptions& options = {});
// The sum of two losses, which may be sums themselves. The gradients of what they share add up.
Value add_losses(Graph& g, Value a, Value b);

// What is made of a network's outputs (engine/op/classify.h, blend_tile.h); none has a gradient.
// The class of each pixel: dense u8 (n, h, w, 1), in `classes` where that is given.
Value classify(Graph& g, Value values, float threshold, Value classes = {});
// Adds to `counts`, dense i64 (1, 1, k, k) of k classes.
void confusion_matrix(Graph& g, Value values, Value labels, float threshold, Value counts);
// Adds to `counts` (engine/op/classify.h: ProbabilityCounts), of probabilities as values.
void probability_counts(Graph& g, Value probabilities, Value labels, float threshold, Value counts);
// Adds to the band `sums`, dense (n, rows, columns, c), the tile `values` (n, h, w, c).
struct TilePlacement {
  Value weights;  // dense f32 (1, 1, 2, max(h, w))
  Value place;    // dense i32 (1, 1, 1, 3), a TilePlace
};
void blend_tile(Graph& g, Value values, const TilePlacement& placement, Value sums);

}  // namespace unetd
