#include "tools/class_file.h"

#include "engine/base/error.h"
#include "tools/yaml_file.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <sstream>
#include <utility>
#include <vector>

namespace unetd {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

int64_t integer(const std::string& text, const char* flag) {
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || last != end)
    throw UsageError(str(flag, ": '", text, "' is no whole number"));
  return value;
}

void set_ignore(io::ClassMap& map, const std::string& ignore) {
  for (const std::string& word : words(ignore)) {
    const int64_t value = integer(word, "--ignore");
    const bool is_class =
        map.further.contains(value) ||
        std::ranges::find(map.classes, value, &io::ClassInfo::value) != map.classes.end();
    if (!is_class) map.ignore.push_back(value);
  }
}

// One class file: every key is asked for, and what was not is refused.
class ClassFile : YamlFile {
 public:
  explicit ClassFile(const fs::path& path)
      : YamlFile(path, "is no class file: it has no `classes`") {}

  io::ClassMap read(const std::string& ignore) {
    const YAML::Node& root = top();
    known_keys(root, {"classes", "ignore", "background", "vector", "rules"});
    if (!root["classes"] || !root["classes"].IsSequence()) fail(root, "`classes` must be a list");
    for (const YAML::Node& entry : root["classes"]) add_class(entry);
    if (const YAML::Node own = root["ignore"]) {
      for (const YAML::Node& v : own) map_.ignore.push_back(as<int64_t>(v, "ignore"));
    } else {
      set_ignore(map_, ignore);
    }
    if (const YAML::Node b = root["background"]) map_.background = class_named(b);
    if (const YAML::Node v = root["vector"]) read_vector(v);
    if (const YAML::Node rules = root["rules"])
      for (const YAML::Node& rule : rules) add_rule(rule);
    return std::move(map_);
  }

 private:
  void add_class(const YAML::Node& entry) {
    known_keys(entry, {"name", "value", "values", "texts", "color"});
    const auto index = static_cast<uint8_t>(map_.classes.size());
    if (map_.classes.size() >= io::ignore_label) fail(entry, "more than 255 classes");
    if (!entry["name"]) fail(entry, "a class without `name`");
    io::ClassInfo cls{index, as<std::string>(entry["name"], "name"), default_color(index)};
    if (entry["color"]) cls.color = as<std::string>(entry["color"], "color");
    if (entry["value"]) cls.value = as<int64_t>(entry["value"], "value");
    if (const YAML::Node values = entry["values"]) {
      if (entry["value"] || !values.IsSequence() || values.size() == 0)
        fail(entry, "a class has `value: N` or `values: [N, ...]`");
      cls.value = as<int64_t>(values[0], "values");
      for (size_t i = 1; i < values.size(); ++i) add_value(values[i], index);
    }
    if (const YAML::Node texts = entry["texts"])
      for (const YAML::Node& text : texts)
        if (!map_.texts.emplace(as<std::string>(text, "texts"), index).second)
          fail(text, str("'", text.Scalar(), "' is listed twice"));
    map_.classes.push_back(std::move(cls));
  }
  void add_value(const YAML::Node& node, uint8_t index) {
    if (!map_.further.emplace(as<int64_t>(node, "values"), index).second)
      fail(node, str("value ", node.Scalar(), " is listed twice"));
  }
  uint8_t class_named(const YAML::Node& node) const {
    const auto name = as<std::string>(node, "class");
    const auto found = std::ranges::find(map_.classes, name, &io::ClassInfo::name);
    if (found == map_.classes.end()) fail(node, str("there is no class '", name, "'"));
    return static_cast<uint8_t>(found - map_.classes.begin());
  }
  void read_vector(const YAML::Node& node) {
    known_keys(node, {"attribute", "layer", "all_touched"});
    if (!node["attribute"]) fail(node, "`vector` needs `attribute`");
    map_.vector.attribute = as<std::string>(node["attribute"], "attribute");
    if (node["layer"]) map_.vector.layer = as<std::string>(node["layer"], "layer");
    if (node["all_touched"]) map_.vector.all_touched = as<bool>(node["all_touched"], "all_touched");
  }
  // Rasters are named from the class file's folder.
  void add_rule(const YAML::Node& node) {
    known_keys(node, {"class", "raster", "equal", "from", "to"});
    if (!node["class"] || !node["raster"]) fail(node, "a rule needs `class` and `raster`");
    io::MaskRule rule{.cls = class_named(node["class"]),
                      .raster = path().parent_path() / as<std::string>(node["raster"], "raster")};
    if (node["equal"]) rule.low = rule.high = as<double>(node["equal"], "equal");
    if (node["from"]) rule.low = as<double>(node["from"], "from");
    if (node["to"]) rule.high = as<double>(node["to"], "to");
    const bool range = node["from"] || node["to"];
    if (static_cast<bool>(node["equal"]) == range)
      fail(node, "a rule has either `equal: V`, or `from: V`, `to: V` or both");
    map_.rules.push_back(std::move(rule));
  }

  io::ClassMap map_;
};

}  // namespace

std::string default_color(size_t i) {
  constexpr const char* palette[] = {"#b5a47a", "#2f6fde", "#6b4fa0", "#f2f2f2", "#7fd0e6",
                                     "#3f8f3f", "#e07b39", "#c23b4b", "#e6cf4f", "#4a4a4a"};
  return palette[i % std::size(palette)];
}

// "1=snow:#3080ff,2=cloud".
io::ClassMap parse_classes(const std::string& classes, const std::string& ignore) {
  io::ClassMap map;
  for (const std::string& item : words(classes)) {
    const size_t equals = item.find('='), colon = item.find(':');
    if (equals == std::string::npos)
      throw UsageError(str("--classes: '", item, "' is not of the form VALUE=NAME"));
    const std::string color =
        colon == std::string::npos ? default_color(map.classes.size()) : item.substr(colon + 1);
    map.classes.push_back({integer(item.substr(0, equals), "--classes"),
                           item.substr(equals + 1, colon - equals - 1), color});
  }
  set_ignore(map, ignore);
  return map;
}

io::ClassMap read_class_file(const fs::path& path, const std::string& ignore) {
  return ClassFile(path).read(ignore);
}

}  // namespace unetd
