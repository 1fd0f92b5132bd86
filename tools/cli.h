// What the programs share: a table that describes a program's command line (from which parsing,
// help text and man page all come), the configuration, log lines, and the turning of exceptions
// into one line on stderr and an exit code: 0 done, 1 failed, 2 wrong usage.
#pragma once

#include "tools/progress.h"
#include "unet/config.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace unetd::cli {

enum class Kind : uint8_t { toggle, text, integer, number };  // a toggle takes no value

// A flag, or a positional argument when its name does not begin with "--".
struct Flag {
  std::string name;   // "--out", "SCENE"
  std::string value;  // what the help calls the value: "FOLDER"
  std::string help;
  Kind kind = Kind::text;
  bool required = false;
  bool many = false;                 // may be repeated, or take several values
  std::string fallback;              // the value when it is absent; empty: none
  std::string range;                 // for the help: what values may be
  std::vector<std::string> choices;  // the only values allowed; empty: any
  // The configuration key that the flag sets; type, default and help then come from its table, and
  // the value arrives in Args::config().
  std::string key;
};

// A flag that is another name for a configuration key: {"--tile", "inference.tile"}.
Flag key_flag(std::string name, std::string key);

// One of a program's modes, such as `unetd-info device`.
struct Command {
  std::string name, summary;
  std::vector<Flag> flags;
};

struct Spec {
  std::string program;      // "unetd-tile"
  std::string summary;      // one line
  std::string description;  // paragraphs for help and man page
  std::vector<Flag> flags;
  std::vector<Command> commands;    // when not empty, one of them must be named
  std::vector<std::string> groups;  // of configuration keys that matter here: "model", "inference"
  bool json = false;                // offers --json
  bool overwrite = false;           // offers --overwrite
  std::string examples;             // lines of shell for the man page
};

// The command line as parsed and checked. Values are looked up by the flag's name.
class Args {
 public:
  std::string_view command() const { return command_; }
  bool has(std::string_view name) const;
  // The value, or the flag's fallback; empty when there is neither.
  std::string text(std::string_view name) const;
  std::filesystem::path path(std::string_view name) const { return text(name); }
  int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;
  bool json() const { return has("--json"); }
  bool overwrite() const { return has("--overwrite"); }

  // Defaults, preset, --config, then --set and the flags that stand for keys; or the same on top of
  // a configuration that was stored, such as a checkpoint's.
  Config config() const;
  Config config(const Config& base) const;

 private:
  friend class Parser;
  std::string command_;
  std::vector<ConfigOverride> overrides() const;

  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::map<std::string, std::string, std::less<>> fallbacks_;
  std::vector<ConfigOverride> overrides_;  // from flags that stand for keys
};

// Parses, runs `body` and returns the exit code. Answers --help, --version and --print-config
// itself.
int run(int argc, const char* const* argv, const Spec& spec,
        const std::function<void(const Args&)>& body);

// What --print-config answers: the keys that the program reads, as a YAML file that says what each
// means. Programs with commands do not offer it.
std::string config_text(const Spec& spec, const Config& config);
inline bool offers_config(const Spec& spec) {
  return !spec.groups.empty() && spec.commands.empty();
}

// The text of --help, and the man page in pandoc's Markdown (the hidden --help-markdown), which is
// what tools/man holds.
std::string help_text(const Spec& spec);
std::string help_markdown(const Spec& spec);

// Every flag there is for a command (none: the program's own), with those that all programs share.
std::vector<Flag> all_flags(const Spec& spec, const Command* command);
std::vector<Flag> common_flags(const Spec& spec);

}  // namespace unetd::cli
