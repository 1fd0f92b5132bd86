#include "unet/model.h"
#include "unet/param_names.h"

namespace unetd {
namespace {

// Follows the image through the network.
class Lister {
 public:
  Lister(const UNetConfig& c, Shape image)
      : c_(c), names_(c), params_(unet_params(c, DeviceType::cpu)), x_(image) {}

  std::vector<LayerInfo> list() {
    std::vector<Shape> levels;
    for (int64_t d = 0; d <= c_.depth; ++d) {
      if (d > 0) {
        levels.push_back(x_);
        if (!c_.strided) {
          add("MaxPool2d", "");
          halve();
        }
      }
      if (d < c_.finest()) continue;
      d == c_.finest() ? first_block(d) : block(names_.down(d));
      if (d > 0 && c_.strided) halve();
      leave_block(c_.channels(d));
    }
    if (c_.dropout > 0) add("Dropout", "");
    for (int64_t d = c_.depth - 1; d >= 0; --d) {
      add(c_.bilinear ? "Upsample" : "ConvTranspose2d", c_.bilinear ? "" : names_.upsampling(d));
      const Shape level = levels[static_cast<size_t>(d)];
      x_.c = c_.bilinear || !c_.skips ? x_.c : x_.c / 2;
      x_.h = c_.valid ? 2 * x_.h : level.h;
      x_.w = c_.valid ? 2 * x_.w : level.w;
      if (c_.skips) x_.c += level.c;
      if (d < c_.finest()) continue;
      block(names_.up(d));
      leave_block(c_.channels_up(d));
    }
    add("Conv2d", names_.output());
    return std::move(layers_);
  }

 private:
  void add(const char* type, const std::string& prefix) {
    int64_t sum = 0;
    for (const ParamSpec& s : params_.specs()) {
      const bool counts = !prefix.empty() && s.role != ParamRole::statistic;
      if (counts && s.name.starts_with(prefix + ".")) sum += s.count();
    }
    layers_.push_back({type, prefix, x_, sum});
  }
  void block(const std::string& name) { add(c_.single ? "SingleConv" : "DoubleConv", name); }
  // Layer by layer.
  void first_block(int64_t level) {
    const std::string name = names_.down(level);
    const Shape entered = x_;
    for (int64_t i = 0; i < c_.convolutions(); ++i) {
      add("Conv2d", names_.convolution(name, i));
      if (i == 0 && level > 0 && c_.strided) halve();
      leave_convolution(c_.channels(level));
      if (c_.norm) add("BatchNorm2d", names_.norm(name, i));
      add("ReLU", "");
    }
    x_ = entered;
  }
  void halve() {
    x_.h = c_.halved(x_.h);
    x_.w = c_.halved(x_.w);
  }
  void leave_convolution(int64_t channels) {
    x_.c = channels;
    x_.h -= c_.valid ? 2 : 0;
    x_.w -= c_.valid ? 2 : 0;
  }
  void leave_block(int64_t channels) {
    for (int64_t i = 0; i < c_.convolutions(); ++i) leave_convolution(channels);
  }

  UNetConfig c_;
  ParamNames names_;
  Params params_;
  Shape x_;
  std::vector<LayerInfo> layers_;
};

}  // namespace

std::vector<LayerInfo> unet_layers(const UNetConfig& c, int64_t height, int64_t width) {
  return Lister(c, {1, c.used_side(height), c.used_side(width), c.in_channels}).list();
}

}  // namespace unetd
