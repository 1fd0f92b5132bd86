#include "unet/param_names.h"

#include "engine/base/error.h"

namespace unetd {
namespace {

const char* leaf(const UNetConfig& c) { return c.single ? ".single_conv" : ".double_conv"; }
bool listed(const UNetConfig& c) { return c.names == Config::Names::aladdinpersson; }

}  // namespace

std::string ParamNames::down(int64_t level) const {
  if (listed(c_)) return level == c_.depth ? "bottleneck.conv" : str("downs.", level, ".conv");
  if (level == 0) return str("inc", leaf(c_));
  return str(c_.skips ? "down" : "encoder", level, c_.strided ? ".conv" : ".maxpool_conv.1",
             leaf(c_));
}

std::string ParamNames::upsampling(int64_t level) const {
  const int64_t step = c_.depth - 1 - level;
  if (listed(c_)) return str("ups.", 2 * step);
  return str(c_.skips ? "up" : "decoder", step + 1, ".up");
}

std::string ParamNames::up(int64_t level) const {
  const int64_t step = c_.depth - 1 - level;
  if (listed(c_)) return str("ups.", 2 * step + 1, ".conv");
  return str(c_.skips ? "up" : "decoder", step + 1, ".conv", leaf(c_));
}

std::string ParamNames::output() const { return listed(c_) ? "final_conv" : "outc.conv"; }

std::string ParamNames::convolution(const std::string& block, int64_t i) const {
  return str(block, ".", i * (c_.norm ? 3 : 2));
}

std::string ParamNames::norm(const std::string& block, int64_t i) const {
  return c_.norm ? str(block, ".", 3 * i + 1) : "";
}

std::vector<ParamNames::Pair> ParamNames::convolutions() const {
  std::vector<Pair> all;
  const auto add = [&](const std::string& block) {
    for (int64_t i = 0; i < c_.convolutions(); ++i)
      all.push_back({convolution(block, i), norm(block, i)});
  };
  for (int64_t d = c_.finest(); d <= c_.depth; ++d) add(down(d));
  for (int64_t d = c_.depth - 1; d >= c_.finest(); --d) add(up(d));
  return all;
}

}  // namespace unetd
