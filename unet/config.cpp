#include "unet/config.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "unet/config_keys.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include <yaml-cpp/yaml.h>

namespace unetd {
namespace {

const Key& find_key(std::string_view name, const std::string& place) {
  std::vector<std::string> names;
  for (const Key& key : key_table()) {
    if (key.description.name == name) return key;
    names.push_back(key.description.name);
  }
  const auto inside = std::find_if(names.begin(), names.end(), [&](const std::string& n) {
    return n.starts_with(str(name, "."));
  });
  if (inside != names.end()) {
    throw UsageError(str(place, "'", name, "' is a group; write its keys below it, such as ",
                         inside->substr(name.size() + 1)));
  }
  const std::string near = nearest_word(name, names);
  throw UsageError(
      str(place, "unknown key '", name, "'",
          near.empty() ? "; --help lists the keys" : "; did you mean '" + near + "'?"));
}

void set_key(Config& config, std::string_view name, const std::string& value,
             const std::string& place) {
  const Key& key = find_key(name, place);
  if (key.set(config, value)) return;
  throw UsageError(str(place, name, " is '", value, "' but must be ", key.description.type));
}

// One setting of a YAML file, its place and its dotted key.
struct Setting {
  std::string key, value, place;
};

std::string scalar_text(const YAML::Node& node, const std::string& place) {
  if (node.IsScalar()) return node.Scalar();
  if (!node.IsSequence()) throw UsageError(str(place, "has no value"));
  std::vector<std::string> items;
  for (const YAML::Node& item : node) {
    if (!item.IsScalar())
      throw UsageError(str(place, "is a list of lists; write a list of numbers"));
    items.push_back(item.Scalar());
  }
  return "[" + join(items, ", ") + "]";
}

bool is_group(const std::string& name) {
  return std::any_of(key_table().begin(), key_table().end(),
                     [&](const Key& key) { return key.description.name.starts_with(name + "."); });
}

void flatten(const YAML::Node& map, const std::string& prefix, std::string_view origin,
             std::vector<Setting>& settings) {
  std::set<std::string> seen;
  for (const auto& entry : map) {
    const std::string at = str(origin, ":", entry.first.Mark().line + 1, ": ");
    if (!entry.first.IsScalar()) throw UsageError(at + "a key must be a word");
    const std::string key = prefix + entry.first.Scalar();
    if (!seen.insert(key).second) throw UsageError(str(at, "'", key, "' is set twice"));
    if (entry.second.IsMap()) {
      flatten(entry.second, key + ".", origin, settings);
    } else if (!entry.second.IsNull()) {
      settings.push_back({key, scalar_text(entry.second, str(at, "'", key, "' ")), at});
    } else if (!is_group(key)) {  // an empty group is harmless, an empty key is not
      throw UsageError(str(at, "'", find_key(key, at).description.name, "' has no value"));
    }
  }
}

std::vector<Setting> read_yaml(std::string_view text, std::string_view origin) {
  std::vector<Setting> settings;
  try {
    const YAML::Node root = YAML::Load(std::string(text));
    if (!root.IsMap() && !root.IsNull()) {
      throw UsageError(str(origin, ": not a configuration; write lines of 'key: value'"));
    }
    if (root.IsMap()) flatten(root, "", origin, settings);
  } catch (const YAML::Exception& error) {
    throw UsageError(str(origin, ":", error.mark.line + 1, ": not valid YAML: ", error.msg));
  }
  return settings;
}

void check_list_length(const char* key, const Config::Weights& weights, int64_t classes) {
  const int64_t count = std::ssize(weights.values);
  if (weights.kind != Config::Weighting::list || classes == 0 || count == classes) return;
  throw UsageError(
      str(key, " has ", count, " numbers but model.classes is ", classes, "; give one per class"));
}

Config layered(Config config, const std::filesystem::path& file,
               std::span<const ConfigOverride> overrides, std::string preset) {
  const std::vector<Setting> settings =
      file.empty() ? std::vector<Setting>() : read_yaml(read_file(file), file.string());
  // The preset lies under all other settings, wherever it is named; a bad name is reported below.
  for (const Setting& s : settings) {
    if (s.key == "model.preset") preset = s.value;
  }
  for (const ConfigOverride& o : overrides) {
    if (o.key == "model.preset") preset = o.value;
  }
  if (presets().contains(preset)) apply_preset(config, preset);
  for (const Setting& s : settings) set_key(config, s.key, s.value, s.place);
  for (const ConfigOverride& o : overrides) apply_override(config, o);
  check_list_length("loss.class_weights", config.loss.class_weights, config.model.classes);
  check_list_length("loss.pos_weight", config.loss.pos_weight, config.model.classes);
  check_list_length("loss.overlap_weights", config.loss.overlap_weights, config.model.classes);
  return config;
}

// A value as YAML: quoted when the plain form would read back as something else.
std::string yaml_value(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_of(":#'\"*&!%@`{}") == std::string::npos;
  return plain ? text : "\"" + text + "\"";
}

}  // namespace

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> keys = [] {
    std::vector<ConfigKey> descriptions;
    for (const Key& key : key_table()) descriptions.push_back(key.description);
    return descriptions;
  }();
  return keys;
}

const ConfigKey& config_key(std::string_view name) { return find_key(name, "").description; }

ConfigOverride parse_override(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw UsageError(str("--set wants key=value, such as training.batch=4, not '", text, "'"));
  }
  return {std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)), "--set"};
}

void apply_yaml(Config& config, std::string_view text, std::string_view origin) {
  for (const Setting& s : read_yaml(text, origin)) set_key(config, s.key, s.value, s.place);
}

void apply_override(Config& config, const ConfigOverride& setting) {
  set_key(config, setting.key, setting.value, setting.origin + ": ");
}

void apply_preset(Config& config, std::string_view name) {
  const auto found = presets().find(name);
  if (found == presets().end()) {
    throw UsageError(
        str("there is no preset '", name, "'; known: ", config_key("model.preset").type));
  }
  apply_yaml(config, found->second, str("preset ", name));
  config.model.preset = name;
}

Config load_config(const std::filesystem::path& file, std::span<const ConfigOverride> overrides) {
  const Config defaults;
  return layered(defaults, file, overrides, defaults.model.preset);
}

Config load_config(const std::filesystem::path& file, std::span<const ConfigOverride> overrides,
                   const Config& base) {
  return layered(base, file, overrides, "");
}

std::string config_value(const Config& config, std::string_view name) {
  return yaml_value(find_key(name, "").get(config));
}

std::string to_yaml(const Config& config) {
  std::string text, group;
  for (const Key& key : key_table()) {
    const std::string& name = key.description.name;
    const size_t dot = name.find('.');
    if (name.substr(0, dot) != group) {
      group = name.substr(0, dot);
      text += group + ":\n";
    }
    text += "  " + name.substr(dot + 1) + ": " + config_value(config, name) + "\n";
  }
  return text;
}

std::string nearest_word(std::string_view word, std::span<const std::string> candidates) {
  const auto distance = [word](std::string_view other) {
    std::vector<size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i);
      for (size_t j = 1; j <= other.size(); ++j) {
        const size_t change = diagonal + (word[i - 1] == other[j - 1] ? 0 : 1);
        diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, change}));
      }
    }
    return row.back();
  };
  std::string best;
  size_t smallest = word.size() / 2 + 1;
  for (const std::string& candidate : candidates) {
    const size_t d = distance(candidate);
    if (d < smallest) smallest = d, best = candidate;
  }
  return best;
}

}  // namespace unetd
