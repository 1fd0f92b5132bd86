#include "unet/model.h"

#include <cmath>
#include <utility>

namespace unetd {
namespace {

// Declares parameters under a prefix while a network is described, and binds them afterwards.
class Scope {
 public:
  Scope(Graph& g, Params& params, Mode mode, DType filters, std::string prefix)
      : g_(g), params_(params), mode_(mode), filters_(filters), prefix_(std::move(prefix)) {}

  Scope operator[](const std::string& name) const {
    return {g_, params_, mode_, filters_, prefix_.empty() ? name : prefix_ + "." + name};
  }
  // The same place with filters of another storage type.
  Scope with_filters(DType type) const { return {g_, params_, mode_, type, prefix_}; }
  // Filters and biases start uniform in +-1/sqrt(fan in), PyTorch's default for convolutions. For a
  // transposed filter PyTorch takes output channels x taps for the fan in.
  Value filter(Shape shape, Kind kind = Kind::filter) const {
    const int64_t channels = kind == Kind::filter ? shape.c : shape.n;
    return get("weight", {.shape = shape,
                          .kind = kind,
                          .role = ParamRole::weight,
                          .bound = bound(channels * shape.h * shape.w)});
  }
  Value bias(int64_t channels, int64_t fan_in) const {
    return get("bias", {.shape = {1, 1, 1, channels}, .bound = bound(fan_in)});
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

 private:
  static float bound(int64_t fan_in) { return 1.0F / std::sqrt(static_cast<float>(fan_in)); }
  Value get(const char* leaf, ParamSpec spec) const {
    spec.name = prefix_ + "." + leaf;
    const std::string name = spec.name;
    if (!params_.allocated()) params_.declare(std::move(spec));
    return params_.bind(g_, name, mode_ == Mode::training, filters_);
  }

  Graph& g_;
  Params& params_;
  Mode mode_;
  DType filters_;
  std::string prefix_;
};

Value in_type(Graph& g, Value x, DType type) {
  return g.info(x).dtype == type ? x : cast(g, x, type);
}

// 3x3 convolution, batch norm, ReLU; `conv` and `norm` are the two layers' names.
Value conv_bn_relu(const Scope& p, const char* conv, const char* norm, const UNetConfig& c, Value x,
                   int64_t channels) {
  Graph& g = p.graph();
  const Shape filter{channels, 3, 3, g.info(x).shape.c};
  const bool folded = p.mode() == Mode::folded;
  const Value w = p[conv].filter(filter);
  const Value bias =
      c.conv_bias || folded ? p[conv].bias(channels, filter.h * filter.w * filter.c) : Value{};
  const Value y = conv2d(g, x, w, bias, {.stride = 1, .pad = 1, .relu = folded});
  if (folded) return y;
  const BatchNormOptions options{c.bn_eps, c.bn_momentum, /*relu=*/true};
  const BatchNormValues statistics = p[norm].norm(channels);
  return p.mode() == Mode::training ? batch_norm(g, y, statistics, options)
                                    : batch_norm_inference(g, y, statistics, options);
}

Value double_conv(const Scope& p, const UNetConfig& c, Value x, int64_t middle, int64_t channels) {
  const Scope inner = p["double_conv"];
  x = conv_bn_relu(inner, "0", "1", c, x, middle);
  return conv_bn_relu(inner, "3", "4", c, x, channels);
}

// Doubles the size of x, pads it to the skip's where that is odd, and puts it behind the skip.
Value up_and_concat(const Scope& p, const UNetConfig& c, Value x, Value skip,
                    const SceneWindow& window) {
  Graph& g = p.graph();
  const Shape before = g.info(x).shape;
  if (c.bilinear) {
    x = upsample2x(g, x, /*align_corners=*/true, window);
  } else {
    const int64_t half = before.c / 2;
    const Value w = p["up"].filter({half, 2, 2, before.c}, Kind::transposed_filter);
    const Value bias = p["up"].bias(half, half * 4);
    x = conv_transpose2x2(g, x, w, bias);
  }
  const Shape have = g.info(x).shape, want = g.info(skip).shape;
  const int64_t dh = want.h - have.h, dw = want.w - have.w;
  if (dh != 0 || dw != 0) x = pad2d(g, x, {dh / 2, dh - dh / 2, dw / 2, dw - dw / 2});
  return concat_channels(g, skip, x);
}

}  // namespace

int64_t UNetConfig::receptive_radius() const {
  // Level d has two 3x3 convolutions on the way down and two on the way up, the deepest two in all;
  // each reaches one pixel of 2^d. A pixel and the window it is pooled in may differ by another
  // one, and bilinear up-sampling reads the coarser neighbour.
  int64_t radius = 2 * stride();
  for (int64_t d = 0; d < depth; ++d) {
    const int64_t cell = int64_t{1} << d;
    radius += 4 * cell + cell + (bilinear ? 2 * cell : 0);
  }
  return radius;
}

UNetConfig unet_config(const Config& config, int64_t data_channels, int64_t data_classes) {
  const auto& m = config.model;
  const auto agree = [](const char* key, int64_t set, int64_t data) {
    if (set != 0 && data != 0 && set != data) {
      throw UsageError(str(key, " is ", set, ", but the data have ", data,
                           "; leave it at 0 to follow the data"));
    }
    return set != 0 ? set : data;
  };
  UNetConfig c;
  c.in_channels = agree("model.in_channels", m.in_channels, data_channels);
  c.classes = agree("model.classes", m.classes, data_classes);
  c.width = m.width;
  c.depth = m.depth;
  c.bilinear = m.upsample == Config::Upsample::bilinear;
  c.conv_bias = m.conv_bias;
  c.bn_eps = static_cast<float>(m.bn_eps);
  c.bn_momentum = static_cast<float>(m.bn_momentum);
  constexpr DType types[] = {DType::f32, DType::bf16, DType::f16};
  c.compute = types[static_cast<size_t>(config.runtime.precision)];
  return c;
}

Value unet(Graph& g, Params& params, const UNetConfig& c, Value x, Mode mode,
           const SceneWindow& window) {
  const Scope root(g, params, mode, c.compute, "");
  params.record_filters(g, c.compute);
  x = in_type(g, x, c.compute);
  x = double_conv(root["inc"], c, x, c.width, c.width);
  std::vector<Value> skips;
  for (int64_t d = 1; d <= c.depth; ++d) {
    skips.push_back(x);
    x = max_pool2x2(g, x);
    x = double_conv(root[str("down", d)]["maxpool_conv"]["1"], c, x, c.channels(d), c.channels(d));
  }
  for (int64_t d = c.depth - 1; d >= 0; --d) {
    const Scope p = root[str("up", c.depth - d)];
    SceneWindow level = window;  // of the values before this step up
    level.cell = int64_t{1} << (d + 1);
    level.scene_h = window.scene_h / level.cell;
    level.scene_w = window.scene_w / level.cell;
    x = up_and_concat(p, c, x, skips[static_cast<size_t>(d)], level);
    const int64_t channels = (c.width << d) / (c.bilinear && d > 0 ? 2 : 1);
    const int64_t middle = c.bilinear ? g.info(x).shape.c / 2 : channels;
    x = double_conv(p["conv"], c, x, middle, channels);
  }
  const Scope out = root["outc"]["conv"].with_filters(DType::f32);
  x = in_type(g, x, DType::f32);
  const int64_t in = g.info(x).shape.c;
  const Value w = out.filter({c.classes, 1, 1, in}), bias = out.bias(c.classes, in);
  return conv2d(g, x, w, bias, {});
}

void check_precision(const UNetConfig& c, DeviceType device) {
  if (device != DeviceType::cpu || c.compute == DType::f32) return;
  throw UsageError(
      str("runtime.precision ", name_of(c.compute), " needs a GPU; leave it at f32 on the cpu"));
}

namespace {

Params declared(const UNetConfig& c, Mode mode) {
  Params params;
  Graph scratch;
  const Value x = scratch.input({1, c.stride(), c.stride(), c.in_channels}, DType::f32, "image");
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

Params fold_batch_norm(const Params& trained, const UNetConfig& c, DeviceType device) {
  Params folded = unet_params(c, device, Mode::folded);
  for (const ParamSpec& spec : folded.specs()) {
    const size_t at = spec.name.find(".double_conv.");
    if (spec.kind != Kind::filter || at == std::string::npos) {
      if (at == std::string::npos) folded.write(spec.name, trained.read(spec.name));
      continue;  // the biases of folded convolutions are written along with their filters
    }
    const std::string conv = spec.name.substr(0, spec.name.rfind('.'));
    // Layer i of the block is the convolution, layer i + 1 its batch norm.
    std::string norm = conv;
    ++norm.back();
    Tensor w = trained.read(conv + ".weight"), bias({1, 1, 1, spec.shape.n}, DType::f32);
    if (c.conv_bias) bias = trained.read(conv + ".bias");
    const Tensor gamma = trained.read(norm + ".weight"), beta = trained.read(norm + ".bias");
    const Tensor mean = trained.read(norm + ".running_mean");
    const Tensor var = trained.read(norm + ".running_var");
    const int64_t per_filter = spec.shape.count() / spec.shape.n;
    for (int64_t k = 0; k < spec.shape.n; ++k) {
      const auto i = static_cast<size_t>(k);
      const double factor =
          gamma.span<float>()[i] / std::sqrt(static_cast<double>(var.span<float>()[i]) + c.bn_eps);
      for (float& x : w.span<float>().subspan(i * static_cast<size_t>(per_filter),
                                              static_cast<size_t>(per_filter))) {
        x = static_cast<float>(x * factor);
      }
      float& b = bias.span<float>()[i];
      b = static_cast<float>(beta.span<float>()[i] + (b - mean.span<float>()[i]) * factor);
    }
    folded.write(conv + ".weight", w);
    folded.write(conv + ".bias", bias);
  }
  return folded;
}

namespace {

int64_t parameters_under(const Params& params, const std::string& prefix) {
  int64_t sum = 0;
  for (const ParamSpec& s : params.specs()) {
    if (s.role != ParamRole::statistic && s.name.starts_with(prefix + ".")) sum += s.count();
  }
  return sum;
}

}  // namespace

std::vector<LayerInfo> unet_layers(const UNetConfig& c, int64_t height, int64_t width) {
  const Params params = unet_params(c, DeviceType::cpu);
  std::vector<LayerInfo> layers;
  const auto list = [&](const char* type, const std::string& prefix, Shape input) {
    layers.push_back({type, prefix, input, prefix.empty() ? 0 : parameters_under(params, prefix)});
  };
  const Shape image{1, height, width, c.in_channels}, features{1, height, width, c.width};
  for (const char* conv : {"0", "3"}) {
    const bool first = conv[0] == '0';
    list("Conv2d", str("inc.double_conv.", conv), first ? image : features);
    list("BatchNorm2d", str("inc.double_conv.", first ? "1" : "4"), features);
    list("ReLU", "", features);
  }
  std::vector<Shape> skips;
  Shape x = features;
  for (int64_t d = 1; d <= c.depth; ++d) {
    skips.push_back(x);
    list("MaxPool2d", "", x);
    x = {1, x.h / 2, x.w / 2, x.c};
    list("DoubleConv", str("down", d, ".maxpool_conv.1"), x);
    x.c = c.channels(d);
  }
  for (int64_t d = c.depth - 1; d >= 0; --d) {
    const std::string up = str("up", c.depth - d);
    list(c.bilinear ? "Upsample" : "ConvTranspose2d", c.bilinear ? "" : up + ".up", x);
    const Shape skip = skips[static_cast<size_t>(d)];
    x = {1, skip.h, skip.w, skip.c + (c.bilinear ? x.c : x.c / 2)};
    list("DoubleConv", up + ".conv", x);
    x.c = (c.width << d) / (c.bilinear && d > 0 ? 2 : 1);
  }
  list("Conv2d", "outc.conv", x);
  return layers;
}

}  // namespace unetd
