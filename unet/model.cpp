#include "unet/model.h"

#include "unet/param_names.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace unetd {
namespace {

// Declares parameters under a layer's name while a network is described, and binds them afterwards.
class Scope {
 public:
  Scope(Graph& g, Params& params, const UNetConfig& c, Mode mode)
      : g_(g), params_(params), c_(c), mode_(mode), filters_(c.compute) {}

  Scope operator[](const std::string& layer) const {
    Scope inner = *this;
    inner.layer_ = layer;
    return inner;
  }
  // The same place with filters of another storage type.
  Scope with_filters(DType type) const {
    Scope other = *this;
    other.filters_ = type;
    return other;
  }
  // Filters and biases start uniform in +-1/sqrt(fan in), PyTorch's default for convolutions, which
  // takes output channels x taps for the fan in of a transposed filter. He's (2015) are normal of
  // variance 2 / (inputs of an output), without biases.
  Value filter(Shape shape, Kind kind = Kind::filter) const {
    ParamSpec spec{.shape = shape, .kind = kind, .role = ParamRole::weight};
    const bool transposed = kind == Kind::transposed_filter;
    if (c_.he_init) {
      const int64_t inputs = shape.c * (transposed ? 1 : shape.h * shape.w);
      spec.deviation = std::sqrt(2.0F / static_cast<float>(inputs));
    } else {
      spec.bound = bound((transposed ? shape.n : shape.c) * shape.h * shape.w);
    }
    return get("weight", spec);
  }
  Value bias(int64_t channels, int64_t fan_in) const {
    return get("bias", {.shape = {1, 1, 1, channels}, .bound = c_.he_init ? 0 : bound(fan_in)});
  }
  BatchNormValues norm(int64_t channels) const {
    const Shape vector{1, 1, 1, channels};
    const auto statistic = ParamRole::statistic;
    return {get("weight", {.shape = vector, .constant = 1}), get("bias", {.shape = vector}),
            get("running_mean", {.shape = vector, .role = statistic}),
            get("running_var", {.shape = vector, .role = statistic, .constant = 1})};
  }
  Mode mode() const { return mode_; }
  Graph& graph() const { return g_; }
  const UNetConfig& config() const { return c_; }

 private:
  static float bound(int64_t fan_in) { return 1.0F / std::sqrt(static_cast<float>(fan_in)); }
  Value get(const char* leaf, ParamSpec spec) const {
    spec.name = layer_ + "." + leaf;
    const std::string name = spec.name;
    if (!params_.allocated()) params_.declare(std::move(spec));
    return params_.bind(g_, name, mode_ == Mode::training, filters_);
  }

  Graph& g_;
  Params& params_;
  const UNetConfig& c_;
  Mode mode_;
  DType filters_;
  std::string layer_;
};

Value in_type(Graph& g, Value x, DType type) {
  return g.info(x).dtype == type ? x : cast(g, x, type);
}

struct BlockOptions {
  int64_t middle, channels;  // of the first of two convolutions, of the last
  int64_t stride = 1;        // of the first
};

// 3x3 convolutions, each with batch norm and ReLU.
Value conv_block(const Scope& p, const std::string& name, Value x, const BlockOptions& o) {
  const UNetConfig& c = p.config();
  const ParamNames names(c);
  Graph& g = p.graph();
  const bool folded = p.mode() == Mode::folded;
  for (int64_t i = 0; i < c.convolutions(); ++i) {
    const Scope conv = p[names.convolution(name, i)];
    const int64_t channels = i + 1 == c.convolutions() ? o.channels : o.middle;
    const Shape filter{channels, 3, 3, g.info(x).shape.c};
    const Value w = conv.filter(filter);
    const bool biased = c.conv_bias || (folded && c.norm);
    const Value bias = biased ? conv.bias(channels, filter.h * filter.w * filter.c) : Value{};
    x = conv2d(g, x, w, bias,
               {.stride = i == 0 ? o.stride : 1, .pad = c.valid ? 0 : 1, .relu = folded});
    if (folded) continue;
    if (!c.norm) {
      x = relu(g, x);
      continue;
    }
    const BatchNormOptions options{static_cast<float>(c.bn_eps), static_cast<float>(c.bn_momentum),
                                   /*relu=*/true};
    const BatchNormValues statistics = p[names.norm(name, i)].norm(channels);
    x = p.mode() == Mode::training ? batch_norm(g, x, statistics, options)
                                   : batch_norm_inference(g, x, statistics, options);
  }
  return x;
}

// Pads or crops to another size, half of it before and the rest behind.
Value fit(Graph& g, Value x, int64_t height, int64_t width) {
  const Shape have = g.info(x).shape;
  const int64_t dh = height - have.h, dw = width - have.w;
  if (dh == 0 && dw == 0) return x;
  return pad2d(g, x, {dh / 2, dh - dh / 2, dw / 2, dw - dw / 2});
}

// The windows of one step up: x, x at twice its size, and the level that it is to fit.
struct Windows {
  SceneWindow below, doubled, level;

  Windows(const UNetConfig& c, const SceneWindow& image, int64_t d) {
    if (!image.origin) return;
    level = image;
    level.cell = int64_t{1} << d;
    for (int64_t i = 0; i < d; ++i) {
      level.scene_h = c.halved(level.scene_h);
      level.scene_w = c.halved(level.scene_w);
    }
    below = doubled = level;
    below.cell *= 2;
    below.scene_h = c.halved(level.scene_h);
    below.scene_w = c.halved(level.scene_w);
    doubled.scene_h = 2 * below.scene_h;
    doubled.scene_w = 2 * below.scene_w;
  }
};

// Doubles the size of x.
Value doubled(const Scope& p, const std::string& name, Value x, const Windows& windows) {
  Graph& g = p.graph();
  const Shape s = g.info(x).shape;
  if (p.config().bilinear) {
    return resize_bilinear(g, x,
                           {.height = 2 * s.h,
                            .width = 2 * s.w,
                            .align_corners = true,
                            .from = windows.below,
                            .result = windows.doubled});
  }
  const int64_t channels = p.config().skips ? s.c / 2 : s.c;
  const Value w = p[name].filter({channels, 2, 2, s.c}, Kind::transposed_filter);
  return conv_transpose2x2(g, x, w, p[name].bias(channels, channels * 4));
}

// Brings x, doubled, to the size of its level, which differs where that is odd.
Value fit_level(const Scope& p, Value x, const Shape& level, const Windows& windows) {
  Graph& g = p.graph();
  if (!p.config().resize) return fit(g, x, level.h, level.w);
  const SceneWindow &from = windows.doubled, &to = windows.level;
  const Shape s = g.info(x).shape;
  const bool stretched = from.scene_h != to.scene_h || from.scene_w != to.scene_w;
  if (!stretched && s.h == level.h && s.w == level.w) return x;
  return resize_bilinear(g, x, {.height = level.h, .width = level.w, .from = from, .result = to});
}

}  // namespace

Value unet(Graph& g, Params& params, const UNetConfig& c, Value x, Mode mode,
           const SceneWindow& window, const DropoutSource& dropout) {
  const Scope root(g, params, c, mode);
  const ParamNames names(c);
  params.record_filters(g, c.compute);
  const Shape image = g.info(x).shape;
  UNETD_CHECK(c.used_side(std::min(image.h, image.w)) > 0, g.info(x).name, " of ", image,
              " is too small: without padding the network reads at least ", c.input_side(1),
              " pixels a side");
  x = in_type(g, fit(g, x, c.used_side(image.h), c.used_side(image.w)), c.compute);
  std::vector<Value> levels;
  for (int64_t d = 0; d <= c.depth; ++d) {
    if (d > 0) {
      levels.push_back(x);
      if (!c.strided) x = max_pool2x2(g, x);
    }
    if (d < c.finest()) continue;
    const int64_t stride = d > 0 && c.strided ? 2 : 1;
    x = conv_block(root, names.down(d), x, {c.channels(d), c.channels(d), stride});
  }
  if (mode == Mode::training && c.dropout > 0 && dropout.batch)
    x = unetd::dropout(g, x, dropout.batch, {static_cast<float>(c.dropout), dropout.seed});
  for (int64_t d = c.depth - 1; d >= 0; --d) {
    Value skip = levels[static_cast<size_t>(d)];
    const Windows windows(c, window, d);
    x = doubled(root, names.upsampling(d), x, windows);
    const Shape size = g.info(x).shape;
    if (!c.valid) x = fit_level(root, x, g.info(skip).shape, windows);
    if (c.skips) x = concat_channels(g, c.valid ? fit(g, skip, size.h, size.w) : skip, x);
    if (d < c.finest()) continue;
    const int64_t channels = c.channels_up(d), in = g.info(x).shape.c;
    x = conv_block(root, names.up(d), x, {c.bilinear && c.skips ? in / 2 : channels, channels});
  }
  const Scope out = root[names.output()].with_filters(DType::f32);
  x = in_type(g, x, DType::f32);
  const int64_t in = g.info(x).shape.c;
  const Value w = out.filter({c.classes, 1, 1, in}), bias = out.bias(c.classes, in);
  return conv2d(g, x, w, bias, {});
}

Value on_whole_image(Graph& g, Value logits, const Shape& image) {
  return fit(g, logits, image.h, image.w);
}

namespace {

Params declared(const UNetConfig& c, Mode mode) {
  Params params;
  Graph scratch;
  const int64_t side = std::max(c.input_side(1), c.stride());
  const Value x = scratch.input({1, side, side, c.in_channels}, DType::f32, "image");
  unet(scratch, params, c, x, mode);
  return params;
}

}  // namespace

std::vector<ParamSpec> unet_specs(const UNetConfig& c, Mode mode) {
  return declared(c, mode).specs();
}

Params unet_params(const UNetConfig& c, DeviceType device, Mode mode) {
  Params params = declared(c, mode);
  params.allocate(device);
  return params;
}

}  // namespace unetd
