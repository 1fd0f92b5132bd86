#include "tools/deepness.h"

#include "engine/base/log.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

using nlohmann::json;

bool is_line(const io::Normalisation& n) {
  const auto straight = [](double slope) { return slope == 0; };
  const auto varies = [](double scale) { return scale != 0; };
  return !n.clip && std::ranges::all_of(n.slope, straight) && std::ranges::all_of(n.scale, varies);
}

}  // namespace

Metadata deepness_metadata(const ModelFile& model, int64_t tile) {
  constexpr double percent = 100, centimetres = 100, full_scale = 255;
  Metadata metadata{
      {"model_type", json(model.target ? "Regressor" : "Segmentor").dump()},
      {"tile_size", json(tile).dump()},
      {"tiles_overlap", json(std::lround(percent * model.config.inference.overlap)).dump()}};
  if (!model.metadata.contains("normalisation")) return metadata;  // nor anything else
  json names = json::object();
  for (size_t i = 0; i < model.classes.size(); ++i)
    names[std::to_string(i)] = model.classes[i].name;
  metadata["class_names"] = names.dump();
  if (model.scene.resolution > 0)
    metadata["resolution"] = json(centimetres * model.scene.resolution).dump();
  if (!is_line(model.normalisation)) {
    log_info("the normalisation '", io::name_of(model.normalisation.method),
             "' is none that Deepness can do; its layers must come normalised");
    return metadata;
  }
  std::vector<double> mean, deviation;
  for (size_t b = 0; b < model.normalisation.shift.size(); ++b) {
    mean.push_back(model.normalisation.shift[b] / full_scale);
    deviation.push_back(1 / (model.normalisation.scale[b] * full_scale));
  }
  metadata["standardization_mean"] = json(mean).dump();
  metadata["standardization_std"] = json(deviation).dump();
  return metadata;
}

}  // namespace unetd
