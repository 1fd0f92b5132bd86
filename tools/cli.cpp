#include "tools/cli.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/threads.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include <CLI/CLI.hpp>

namespace unetd::cli {
namespace {

bool is_positional(const Flag& flag) { return !flag.name.starts_with("--"); }

template <class T>
std::optional<T> parse_number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void check_value(const Flag& flag, const std::string& value) {
  if (flag.kind == Kind::integer && !parse_number<int64_t>(value)) {
    throw UsageError(str(flag.name, " wants a whole number, not '", value, "'"));
  }
  if (flag.kind == Kind::number && !parse_number<double>(value)) {
    throw UsageError(str(flag.name, " wants a number, not '", value, "'"));
  }
  if (flag.choices.empty()) return;
  if (std::find(flag.choices.begin(), flag.choices.end(), value) != flag.choices.end()) return;
  std::string known;
  for (const std::string& c : flag.choices) known += (known.empty() ? "" : ", ") + c;
  throw UsageError(str(flag.name, " takes one of ", known, ", not '", value, "'"));
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

// A command line on its way through CLI11.
class Parser {
 public:
  explicit Parser(const Spec& spec) : spec_(spec), app_(spec.summary, spec.program) {
    app_.set_help_flag("-h,--help");
    app_.set_version_flag("--version", std::string(UNETD_VERSION));
    app_.allow_extras();
    for (const Flag& flag : all_flags(spec, nullptr)) add(app_, flag);
    for (const Command& command : spec.commands) {
      CLI::App* sub = app_.add_subcommand(command.name, command.summary);
      sub->set_help_flag("-h,--help");
      sub->fallthrough()->allow_extras();
      for (const Flag& flag : command.flags) add(*sub, flag);
      commands_.emplace_back(&command, sub);
    }
  }

  // Throws CLI::CallForHelp and CLI::CallForVersion, and UsageError.
  Args parse(int argc, const char* const* argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::Success&) {
      throw;
    } catch (const CLI::ArgumentMismatch& error) {
      const std::string message = one_line(error.what());
      throw UsageError(message.substr(0, message.find(':')) + " needs a value");
    } catch (const CLI::ParseError& error) {
      reject_extras();  // a misspelt flag explains a missing one better than the missing one
      throw UsageError(one_line(error.what()));
    }
    reject_extras();
    return collect();
  }

 private:
  struct Bound {
    Flag flag;
    CLI::Option* option;
  };

  void add(CLI::App& app, const Flag& flag) {
    std::function<bool(const CLI::results_t&)> accept = [](const CLI::results_t&) { return true; };
    CLI::Option* option = flag.kind == Kind::toggle ? app.add_flag(flag.name)
                                                    : app.add_option(flag.name, accept, flag.help);
    option->required(flag.required);
    if (flag.kind != Kind::toggle && (flag.many || !is_positional(flag))) {
      option->expected(1, CLI::detail::expected_max_vector_size);
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
      option->allow_extra_args(is_positional(flag));  // a flag takes one value each time
    }
    bound_.push_back({flag, option});
  }

  // Every flag that the command at hand knows.
  const Command* chosen() const {
    for (const auto& [command, app] : commands_) {
      if (app->parsed()) return command;
    }
    return nullptr;
  }

  void reject_extras() const {
    const std::vector<std::string> extras = app_.remaining(true);
    if (extras.empty()) {
      if (!commands_.empty() && chosen() == nullptr) throw UsageError("no command given" + hint());
      return;
    }
    const std::string word = extras.front().substr(0, extras.front().find('='));
    std::vector<std::string> candidates;
    const char* what = "unexpected argument";
    if (word.starts_with("-")) {
      what = "unknown flag";
      for (const Flag& f : all_flags(spec_, chosen())) candidates.push_back(f.name);
      candidates.insert(candidates.end(), {"--help", "--version"});
    } else if (!commands_.empty() && chosen() == nullptr) {
      what = "unknown command";
      for (const Command& c : spec_.commands) candidates.push_back(c.name);
    }
    const std::string near = nearest_word(word, candidates);
    throw UsageError(
        str(what, " '", word, "'", near.empty() ? hint() : "; did you mean '" + near + "'?"));
  }

  std::string hint() const { return str("; see ", spec_.program, " --help"); }

  Args collect() const {
    Args args;
    if (const Command* command = chosen()) args.command_ = command->name;
    for (const Bound& b : bound_) {
      const Flag& flag = b.flag;
      std::vector<std::string> values = b.option->results();
      const bool given = b.option->count() > 0;
      if (values.size() > 1 && !flag.many && flag.kind != Kind::toggle) {
        throw UsageError(flag.name + " is given twice");
      }
      if (given && flag.kind != Kind::toggle) {
        for (const std::string& value : values) {
          check_value(flag, value);
          if (!flag.key.empty()) args.overrides_.push_back({flag.key, value, flag.name});
        }
      } else if (!given && !flag.fallback.empty() && flag.key.empty()) {
        args.fallbacks_.emplace(flag.name, flag.fallback);
      }
      if (given) args.values_[flag.name] = std::move(values);
    }
    return args;
  }

  const Spec& spec_;
  CLI::App app_;
  std::vector<std::pair<const Command*, CLI::App*>> commands_;
  std::vector<Bound> bound_;
};

Flag key_flag(std::string name, std::string key) {
  Flag flag;
  flag.name = std::move(name);
  flag.key = std::move(key);
  const ConfigKey& row = config_key(flag.key);
  const bool integer = row.type.starts_with("integer"), number = row.type.starts_with("number");
  flag.value = integer ? "N" : number ? "X" : row.type;
  flag.range = integer || number ? row.type : "";
  flag.help = row.help;
  flag.fallback = row.fallback;
  return flag;
}

std::vector<Flag> common_flags(const Spec& spec) {
  std::vector<Flag> flags = {
      {.name = "--config", .value = "FILE.yml", .help = "read settings from a YAML file"},
      {.name = "--set",
       .value = "KEY=VALUE",
       .help = "set one configuration key; wins over the file; may be repeated",
       .many = true},
      key_flag("--device", "runtime.device"),
      key_flag("--threads", "runtime.threads"),
      {.name = "--quiet", .help = "no progress, warnings and errors only", .kind = Kind::toggle},
      {.name = "--verbose",
       .help = "say more: kernels chosen, memory, times",
       .kind = Kind::toggle}};
  if (offers_config(spec)) {
    flags.push_back({.name = "--print-config",
                     .help = "print all settings, with what they mean, as a YAML file for --config",
                     .kind = Kind::toggle});
  }
  if (spec.json) {
    flags.push_back({.name = "--json", .help = "results as JSON", .kind = Kind::toggle});
  }
  if (spec.overwrite) {
    flags.push_back(
        {.name = "--overwrite", .help = "replace existing results", .kind = Kind::toggle});
  }
  return flags;
}

std::vector<Flag> all_flags(const Spec& spec, const Command* command) {
  std::vector<Flag> flags = spec.flags;
  if (command != nullptr) flags.insert(flags.end(), command->flags.begin(), command->flags.end());
  const std::vector<Flag> common = common_flags(spec);
  flags.insert(flags.end(), common.begin(), common.end());
  return flags;
}

bool Args::has(std::string_view name) const { return values_.find(name) != values_.end(); }

std::string Args::text(std::string_view name) const {
  if (const auto given = values_.find(name); given != values_.end()) return given->second.front();
  const auto fallback = fallbacks_.find(name);
  return fallback == fallbacks_.end() ? "" : fallback->second;
}

std::vector<std::string> Args::all(std::string_view name) const {
  if (const auto given = values_.find(name); given != values_.end()) return given->second;
  const auto fallback = fallbacks_.find(name);
  return fallback == fallbacks_.end() ? std::vector<std::string>{}
                                      : std::vector<std::string>{fallback->second};
}

int64_t Args::integer(std::string_view name) const {
  const std::optional<int64_t> value = parse_number<int64_t>(text(name));
  UNETD_CHECK(value.has_value(), name, " has no whole number");
  return *value;
}

double Args::number(std::string_view name) const {
  const std::optional<double> value = parse_number<double>(text(name));
  UNETD_CHECK(value.has_value(), name, " has no number");
  return *value;
}

std::vector<ConfigOverride> Args::overrides() const {
  std::vector<ConfigOverride> overrides = overrides_;
  for (const std::string& setting : all("--set")) overrides.push_back(parse_override(setting));
  return overrides;
}

Config Args::config() const { return load_config(path("--config"), overrides()); }

Config Args::config(const Config& base) const {
  return load_config(path("--config"), overrides(), base);
}

namespace {

// Settings are printed without what the work itself would need.
bool print_config(int argc, const char* const* argv, Spec spec) {
  const auto wants = [](std::string_view word) { return word == "--print-config"; };
  if (!offers_config(spec) || std::none_of(argv, argv + argc, wants)) return false;
  for (Flag& flag : spec.flags) flag.required = false;
  const Args args = Parser(spec).parse(argc, argv);
  std::fputs(config_text(spec, args.config()).c_str(), stdout);
  return true;
}

// Everything but the turning of exceptions into exit codes.
void run_checked(int argc, const char* const* argv, const Spec& spec,
                 const std::function<void(const Args&)>& body) {
  Parser parser(spec);
  Args args;
  try {
    if (print_config(argc, argv, spec)) return;
    args = parser.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(help_text(spec).c_str(), stdout);
    return;
  } catch (const CLI::CallForVersion&) {
    std::printf("%s %s\n", spec.program.c_str(), UNETD_VERSION);
    return;
  }
  if (args.has("--quiet") && args.has("--verbose")) {
    throw UsageError("--quiet and --verbose contradict each other; give one");
  }
  open_log(spec.program, args.has("--quiet")     ? Verbosity::quiet
                         : args.has("--verbose") ? Verbosity::verbose
                                                 : Verbosity::normal);
  if (args.has("--verbose")) setenv("UNETD_VERBOSE", "kernels,memory", 0);
  const Config config = args.config();  // a bad setting ends the program before it does anything
  if (config.runtime.threads > 0) set_thread_count(static_cast<int>(config.runtime.threads));
  body(args);
  if (std::fflush(stdout) != 0) throw UserError("cannot write the results to standard output");
}

}  // namespace

int run(int argc, const char* const* argv, const Spec& spec,
        const std::function<void(const Args&)>& body) {
  const auto fail = [&spec](const std::string& message, int code) {
    std::fprintf(stderr, "%s: error: %s\n", spec.program.c_str(), one_line(message).c_str());
    return code;
  };
  if (argc == 2 && std::string_view(argv[1]) == "--help-markdown") {
    std::fputs(help_markdown(spec).c_str(), stdout);
    return 0;
  }
  try {
    run_checked(argc, argv, spec, body);
    return 0;
  } catch (const UsageError& error) {
    return fail(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return fail("out of memory; a smaller training.batch, training.crop or inference.tile helps",
                1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}

}  // namespace unetd::cli
