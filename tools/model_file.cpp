#include "tools/model_file.h"

#include "tools/model_description.h"
#include "tools/store_tables.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

using nlohmann::json;

std::vector<std::string> band_names(const std::vector<io::SceneBand>& bands) {
  std::vector<std::string> names;
  names.reserve(bands.size());
  for (const io::SceneBand& b : bands) names.push_back(b.name);
  return names;
}

std::string target_text(const io::Target& t, const TargetScale& scale) {
  nlohmann::ordered_json text = to_json(t);
  text["shift"] = scale.shift;
  text["scale"] = scale.scale;
  return text.dump();
}

std::optional<ModelTarget> stored_target(const std::string& text) {
  if (text.empty()) return {};
  const json t = json::parse(text);
  return ModelTarget{{.name = t["name"],
                      .unit = t["unit"],
                      .count = t["count"],
                      .min = t["min"],
                      .max = t["max"],
                      .mean = t["mean"],
                      .stddev = t["stddev"]},
                     {t["shift"], t["scale"]}};
}

std::vector<io::ClassInfo> stored_classes(const std::string& text, int64_t count) {
  std::vector<io::ClassInfo> classes;
  if (!text.empty()) {
    for (const json& c : json::parse(text)) classes.push_back({c["value"], c["name"], c["color"]});
    return classes;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t grey = count > 1 ? 255 * i / (count - 1) : 0;
    char color[8];
    std::snprintf(color, sizeof color, "#%02x%02x%02x", static_cast<unsigned>(grey),
                  static_cast<unsigned>(grey), static_cast<unsigned>(grey));
    classes.push_back({i, str("class", i), color});
  }
  return classes;
}

// The stored one, unless the configuration asks for none: others need the training data.
io::Normalisation stored_normalisation(const std::string& text, const Config& config,
                                       const UNetConfig& unet, const std::string& file) {
  const bool none = config.normalisation.method == NormalisationMethod::none;
  if (!text.empty() && !none) return io::Normalisation::from_json(text);
  if (!none) {
    throw UserError(str(file,
                        ": does not say how its input is normalised, nor its bands and classes; ",
                        "describe them in ", description_beside(file).string(),
                        ", or give --set normalisation.method=none to leave the input as it is"));
  }
  const auto bands = static_cast<size_t>(unet.in_channels);
  io::Normalisation identity;
  identity.shift.assign(bands, 0.0);
  identity.scale.assign(bands, 1.0);
  identity.source_scale.assign(bands, 1.0);
  identity.source_offset.assign(bands, 0.0);
  return identity;
}

}  // namespace

TargetScale target_scale(const Config& config, const io::StoreSchema& schema) {
  if (!schema.target || config.normalisation.target == Config::TargetScaling::none) return {};
  const io::Target& t = *schema.target;
  return {t.mean, t.stddev > 0 ? t.stddev : 1};
}

Metadata describe_data(const io::StoreSchema& schema, const io::Normalisation& normalisation,
                       const TargetScale& scale) {
  json classes = json::array();
  for (const io::ClassInfo& c : schema.classes) {
    classes.push_back({{"value", c.value}, {"name", c.name}, {"color", c.color}});
  }
  Metadata metadata{{"bands", json(band_names(schema.bands)).dump()},
                    {"resampling", io::name_of(schema.resampling)},
                    {"resolution", std::to_string(schema.resolution)},
                    {"classes", classes.dump()},
                    {"normalisation", normalisation.to_json()}};
  if (schema.target) metadata["target"] = target_text(*schema.target, scale);
  return metadata;
}

ModelFile open_model(const std::filesystem::path& path,
                     const std::function<Config(const Config& stored)>& configure) {
  const Checkpoint checkpoint(path);
  ModelFile model;
  model.unet = checkpoint.model();
  model.metadata = complete_metadata(path, checkpoint.metadata(), model.unet);
  const auto get = [&](const char* key) {
    const auto found = model.metadata.find(key);
    return found == model.metadata.end() ? std::string() : found->second;
  };
  Config stored;
  stored.model = model.unet.settings();
  if (const std::string yaml = get("config"); !yaml.empty()) {
    apply_yaml(stored, yaml, path.string());
    stored.runtime = {};  // where it was trained is not where it is used
  }
  model.config = configure(stored);
  const UNetConfig wanted = unet_config(model.config, 0, 0);
  model.unet.compute = wanted.compute;
  model.unet.take_untold(model.config.model);
  model.params = unet_params(model.unet, open_device(model.config.runtime.device));
  checkpoint.load(model.params);
  model.batches = checkpoint.batches();
  try {
    model.classes = stored_classes(get("classes"), std::max<int64_t>(model.unet.classes, 2));
    model.target = stored_target(get("target"));
    if (const std::string bands = get("bands"); !bands.empty()) {
      model.scene.bands = json::parse(bands).get<std::vector<std::string>>();
      model.scene.resampling = io::parse_resampling(get("resampling"));
      model.scene.resolution = json::parse(get("resolution")).get<int>();
    }
  } catch (const json::exception& e) {
    throw UserError(str(path.string(), ": damaged metadata: ", e.what()));
  }
  model.normalisation =
      stored_normalisation(get("normalisation"), model.config, model.unet, path.string());
  return model;
}

void check_store(const ModelFile& model, const io::StoreSchema& schema, const std::string& path) {
  const std::vector<std::string> bands = band_names(schema.bands);
  if (!model.scene.bands.empty() && bands != model.scene.bands) {
    throw UserError(str(path, ": has the bands ", json(bands).dump(), ", the model wants ",
                        json(model.scene.bands).dump(), "; tile again with --bands"));
  }
  if (schema.target.has_value() != model.target.has_value()) {
    const auto kind = [](bool targets) { return targets ? "targets" : "classes"; };
    throw UserError(str(path, ": is a store of ", kind(schema.target.has_value()),
                        ", the model was trained on ", kind(model.target.has_value()),
                        "; tile again with ", model.target ? "--target" : "--classes"));
  }
  if (model.target && (schema.target->name != model.target->data.name ||
                       schema.target->unit != model.target->data.unit)) {
    throw UserError(str(path, ": holds ", schema.target->in_words(), ", the model predicts ",
                        model.target->data.in_words(), "; tile again with --target"));
  }
  std::vector<std::string> have, want;
  for (const io::ClassInfo& c : schema.classes) have.push_back(c.name);
  for (const io::ClassInfo& c : model.classes) want.push_back(c.name);
  if (have.size() != want.size() || (!model.metadata.empty() && have != want)) {
    throw UserError(str(path, ": has the classes ", json(have).dump(), ", the model knows ",
                        json(want).dump(), "; tile again with --classes"));
  }
}

}  // namespace unetd
