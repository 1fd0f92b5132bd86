#include "tools/yaml_file.h"

#include "engine/base/file.h"

#include <algorithm>
#include <utility>

namespace unetd {

YamlFile::YamlFile(std::filesystem::path path, const std::string& wanted) : path_(std::move(path)) {
  try {
    top_ = YAML::Load(read_file(path_));
  } catch (const YAML::Exception& e) {
    throw UsageError(str(path_.string(), ", line ", e.mark.line + 1, ": ", e.msg));
  }
  if (!top_.IsMap()) throw UsageError(str(path_.string(), " ", wanted));
}

void YamlFile::known_keys(const YAML::Node& node,
                          std::initializer_list<std::string_view> known) const {
  if (!node.IsMap()) fail(node, "a list of `key: value` pairs is wanted here");
  for (const auto& pair : node) {
    const auto key = as<std::string>(pair.first, "a key");
    if (std::ranges::find(known, key) != known.end()) continue;
    std::string list;
    for (const std::string_view k : known) list += (list.empty() ? "" : ", ") + std::string(k);
    fail(pair.first, str("there is no key `", key, "`: ", list));
  }
}

void YamlFile::fail(const YAML::Node& at, const std::string& what) const {
  throw UsageError(str(path_.string(), ", line ", at.Mark().line + 1, ": ", what));
}

}  // namespace unetd
