#include "tools/model_description.h"

#include "engine/base/error.h"
#include "io/normalise.h"
#include "io/resample.h"
#include "tools/class_file.h"
#include "tools/model_file.h"
#include "tools/yaml_file.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace unetd {
namespace {

namespace fs = std::filesystem;
using io::Normalisation;

// One description: every key is asked for, and what was not is refused.
class Description : YamlFile {
 public:
  Description(const fs::path& path, const UNetConfig& network)
      : YamlFile(path, "describes no model: it has no `bands`"),
        network_(network),
        band_count_(network.in_channels),
        outputs_(network.classes) {}

  Metadata read() {
    const YAML::Node& root = top();
    known_keys(root, {"preset", "outputs", "bands", "resolution", "resampling", "classes", "target",
                      "normalisation"});
    for (const char* key : {"bands", "normalisation"})
      if (!root[key]) fail(root, str("there is no `", key, "`"));
    if (!root["classes"] && !root["target"]) fail(root, "there is no `classes`, nor a `target`");
    if (root["classes"] && root["target"])
      fail(root["target"], "`target` is of a value a pixel, `classes` of others: give one of them");
    io::StoreSchema schema;
    read_bands(root, schema);
    TargetScale scale;
    if (root["target"]) {
      scale = read_target(root["target"], schema);
    } else {
      read_classes(root["classes"], schema);
    }
    Metadata metadata =
        describe_data(schema, normalisation(root["normalisation"], schema.bands), scale);
    metadata["config"] = to_yaml(config(root));
    return metadata;
  }

 private:
  Config config(const YAML::Node& root) const {
    Config config;
    config.model = network_.settings();
    if (const YAML::Node preset = root["preset"])
      apply_preset(config, as<std::string>(preset, "preset"));
    if (root["target"]) {
      config.loss.terms = {{Config::LossType::mse}};
      config.inference.emit = Config::Emit::values;
    }
    if (const YAML::Node outputs = root["outputs"]) {
      if (root["target"]) fail(outputs, "`outputs` is of classes, `target` of a value");
      const auto text = as<std::string>(outputs, "outputs");
      if (text != "softmax" && text != "sigmoid") fail(outputs, "`outputs` is softmax or sigmoid");
      const bool sigmoid = text == "sigmoid";
      config.loss.terms = {{sigmoid ? Config::LossType::bce : Config::LossType::cross_entropy}};
    }
    return config;
  }

  void read_bands(const YAML::Node& root, io::StoreSchema& schema) const {
    for (const YAML::Node& band : root["bands"])
      schema.bands.push_back({.name = as<std::string>(band, "bands")});
    if (std::ssize(schema.bands) != band_count_) {
      fail(root["bands"], str("`bands` has ", schema.bands.size(), " names, the network ",
                              band_count_, " inputs"));
    }
    schema.resolution = root["resolution"] ? as<int>(root["resolution"], "resolution") : 0;
    if (root["resampling"])
      schema.resampling = io::parse_resampling(as<std::string>(root["resampling"], "resampling"));
  }

  // target = shift + scale * output; low and high are what pictures show.
  TargetScale read_target(const YAML::Node& node, io::StoreSchema& schema) const {
    known_keys(node, {"name", "unit", "shift", "scale", "low", "high"});
    if (!node["name"]) fail(node, "`target` needs `name`");
    if (outputs_ != 1)
      fail(node, str("`target` is one value a pixel, the network has ", outputs_, " outputs"));
    const auto number = [&](const char* key, double fallback) {
      return node[key] ? as<double>(node[key], key) : fallback;
    };
    const TargetScale scale{number("shift", 0), number("scale", 1)};
    if (scale.scale == 0) fail(node["scale"], "`scale` cannot be 0");
    const double low = number("low", scale.shift - 2 * scale.scale),
                 high = number("high", scale.shift + 2 * scale.scale);
    if (!(low < high)) fail(node, "`low` is to be below `high`");
    schema.target = {.name = as<std::string>(node["name"], "name"),
                     .unit = node["unit"] ? as<std::string>(node["unit"], "unit") : "",
                     .min = low,
                     .max = high,
                     .mean = (low + high) / 2,
                     .stddev = (high - low) / 4};
    schema.classes = {io::output_of(*schema.target)};
    return scale;
  }

  void read_classes(const YAML::Node& classes, io::StoreSchema& schema) const {
    for (const YAML::Node& entry : classes) {
      const size_t index = schema.classes.size();
      io::ClassInfo info{static_cast<int64_t>(index), "", default_color(index)};
      if (entry.IsMap()) {
        known_keys(entry, {"name", "color"});
        if (!entry["name"]) fail(entry, "a class without `name`");
        info.name = as<std::string>(entry["name"], "name");
        if (entry["color"]) info.color = as<std::string>(entry["color"], "color");
      } else {
        info.name = as<std::string>(entry, "classes");
      }
      schema.classes.push_back(std::move(info));
    }
    // A single output tells two classes apart.
    const int64_t wanted = std::max<int64_t>(outputs_, 2);
    if (std::ssize(schema.classes) != wanted) {
      fail(classes, str("`classes` has ", schema.classes.size(), " entries, the network tells ",
                        wanted, " apart"));
    }
  }

  // One number a band, or one for all.
  std::vector<double> numbers(const YAML::Node& node, const char* key) const {
    if (!node[key]) fail(node, str("this method needs `", key, "`"));
    if (node[key].IsScalar())
      return std::vector<double>(static_cast<size_t>(band_count_), as<double>(node[key], key));
    auto values = as<std::vector<double>>(node[key], key);
    if (std::ssize(values) != band_count_)
      fail(node[key],
           str("`", key, "` has ", values.size(), " numbers for ", band_count_, " bands"));
    return values;
  }

  // y = (x - low) / width for samples x with physical value = x * scale + offset.
  Normalisation line(const YAML::Node& node, Normalisation::Method method,
                     const std::vector<double>& low, const std::vector<double>& width) const {
    Normalisation n;
    n.method = method;
    n.shift = low;
    for (const double w : width) {
      if (!(w > 0)) fail(node, "a width of 0 or less");
      n.scale.push_back(1 / w);
    }
    const auto one = [&](const char* key, double fallback) {
      return node[key] ? as<double>(node[key], key) : fallback;
    };
    n.source_scale.assign(low.size(), one("scale", 1));
    n.source_offset.assign(low.size(), one("offset", 0));
    if (n.source_scale.front() == 0) fail(node["scale"], "`scale` cannot be 0");
    return n;
  }

  Normalisation normalisation(const YAML::Node& node,
                              const std::vector<io::SceneBand>& bands) const {
    known_keys(node, {"method", "divisor", "mean", "deviation", "low", "high", "scale", "offset"});
    if (!node["method"]) fail(node, "`normalisation` needs `method`");
    const auto method = io::parse_normalisation(as<std::string>(node["method"], "method"));
    const std::vector<double> zeros(bands.size());
    switch (method) {
      case Normalisation::Method::none:
        return line(node, method, zeros, std::vector<double>(bands.size(), 1.0));
      case Normalisation::Method::scale:
        return line(node, method, zeros, numbers(node, "divisor"));
      case Normalisation::Method::zscore:
        return line(node, method, numbers(node, "mean"), numbers(node, "deviation"));
      case Normalisation::Method::percentile: {
        const std::vector<double> low = numbers(node, "low");
        std::vector<double> width = numbers(node, "high");
        for (size_t b = 0; b < width.size(); ++b) width[b] -= low[b];
        Normalisation n = line(node, method, low, width);
        n.clip = {0, 1};
        return n;
      }
      case Normalisation::Method::dynamic_world:
        return fixed_curves(bands);
      default:
        fail(
            node["method"],
            "the method is none, scale, zscore, percentile or dynamic_world (with its constants of "
            "Sentinel-2)");
    }
  }

  // Those of Sentinel-2's bands, which are reflectances as its products store them.
  static Normalisation fixed_curves(std::vector<io::SceneBand> bands) {
    constexpr double product_scale = 1e-4;
    for (io::SceneBand& b : bands) b.scale = product_scale;
    return Normalisation::fit(Normalisation::Method::dynamic_world, DType::u16, bands,
                              std::vector<io::BandStatistics>(bands.size()),
                              Normalisation::Constants::sentinel2);
  }

  UNetConfig network_;
  int64_t band_count_, outputs_;
};

}  // namespace

fs::path description_beside(const fs::path& weights) {
  fs::path path = weights;
  return path.replace_extension(".yml");
}

Metadata read_description(const fs::path& path, const UNetConfig& network) {
  return Description(path, network).read();
}

Metadata complete_metadata(const fs::path& weights, const Metadata& own,
                           const UNetConfig& network) {
  const fs::path beside = description_beside(weights);
  const bool complete = own.contains("normalisation") && own.contains("classes");
  return complete || !fs::exists(beside) ? own : read_description(beside, network);
}

}  // namespace unetd
