// A YAML file that is asked for every key it may have; what else it holds is refused. Messages name
// the file and the line.
#pragma once

#include "engine/base/error.h"

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

#include <yaml-cpp/yaml.h>

namespace unetd {

class YamlFile {
 public:
  // `wanted` ends the message about a file that is no map: "is no class file: it has no `classes`".
  // Throws UserError where it cannot be read, UsageError where it is no YAML or no map.
  YamlFile(std::filesystem::path path, const std::string& wanted);

  const YAML::Node& top() const { return top_; }
  // These throw UsageError.
  void known_keys(const YAML::Node& node, std::initializer_list<std::string_view> known) const;
  template <class T>
  T as(const YAML::Node& node, const char* key) const {
    try {
      return node.as<T>();
    } catch (const YAML::Exception&) {
      fail(node, str("`", key, "` cannot be '", node.IsScalar() ? node.Scalar() : "a list", "'"));
    }
  }
  [[noreturn]] void fail(const YAML::Node& at, const std::string& what) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  YAML::Node top_;
};

}  // namespace unetd
