// Networks for tests: small ones of every kind, with parameters that are not neutral.
#pragma once

#include "engine/base/rng.h"
#include "kernels/register.h"
#include "unet/model.h"
#include "unet/predictor.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {

// Parameters with batch statistics that are not the neutral 0 and 1.
inline Params random_params(const UNetConfig& c) {
  register_kernels();
  Params params = unet_params(c, DeviceType::cpu);
  params.initialise(5);
  Rng rng(6);
  for (const ParamSpec& s : params.specs()) {
    if (s.kind != Kind::features) continue;
    Tensor t = params.read(s.name);
    for (float& x : t.span<float>()) x += rng.uniform(-0.2F, 0.2F);
    params.write(s.name, t);
  }
  return params;
}

inline double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double most = 0;
  for (size_t i = 0; i < a.span<float>().size(); ++i) {
    most = std::max(most, std::abs(double{a.span<float>()[i]} - b.span<float>()[i]));
  }
  return most;
}

inline UNetConfig small_config(bool bilinear) {
  UNetConfig c;
  c.in_channels = 3;
  c.classes = 2;
  c.width = 4;
  c.depth = 3;
  c.bilinear = bilinear;
  return c;
}

// The network of a preset, small.
inline UNetConfig small_preset(std::string_view name) {
  Config config;
  apply_preset(config, name);
  config.model.in_channels = 3;
  config.model.classes = 2;
  config.model.width = 4;
  config.model.depth = std::min<int64_t>(config.model.depth, 3);
  return unet_config(config, 0, 0);
}
inline std::vector<std::pair<std::string, UNetConfig>> all_kinds() {
  std::vector<std::pair<std::string, UNetConfig>> all;
  for (const auto& [name, text] : presets()) all.emplace_back(name, small_preset(name));
  UNetConfig c = small_preset("elaouni");
  c.single = true;
  all.emplace_back("elaouni, single", c);
  c = small_preset("dumbnet");
  c.depth = 2;
  all.emplace_back("dumbnet, deeper", c);
  c = small_preset("milesial");
  c.strided = true;
  all.emplace_back("milesial, strided", c);
  c.bilinear = c.resize = true;
  all.emplace_back("strided, bilinear, resized", c);
  c = small_preset("ronneberger2015");
  c.norm = c.single = true;
  all.emplace_back("ronneberger2015, single, with batch norm", c);
  c = small_preset("milesial");
  c.norm = c.skips = false;
  all.emplace_back("milesial, without norm and skips", c);
  return all;
}

// Of whole images, mirrored at their borders where the network has no padding.
inline Tensor one_pass(Predictor& predictor, const Tensor& scene) {
  const Surrounded whole(scene, predictor.model());
  return whole.part(predictor.logits(*whole.images().samples));
}

}  // namespace unetd
