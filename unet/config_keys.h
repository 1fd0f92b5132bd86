// The table of all settings; see config.h. For config.cpp, which reads and writes them.
#pragma once

#include "unet/config.h"

#include <functional>
#include <string>
#include <vector>

namespace unetd {

// What the table holds of a key beyond its description: `set` parses a value and stores it, or says
// what is wrong by returning false; `get` writes it so that `set` reads the same back.
struct Key {
  ConfigKey description;
  std::function<bool(Config&, const std::string&)> set;
  std::function<std::string(const Config&)> get;
};

// In the order of to_yaml and of the help texts.
const std::vector<Key>& key_table();

std::string join(std::span<const std::string> words, const char* separator);

}  // namespace unetd
