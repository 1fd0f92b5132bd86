// Help texts and man pages, from the tables that parsing uses.
#include "engine/base/error.h"
#include "tools/cli.h"

#include <algorithm>
#include <iterator>
#include <sstream>

namespace unetd::cli {
namespace {

constexpr size_t width = 96;
constexpr size_t column = 30;  // where explanations begin

// A term and its explanation.
struct Row {
  std::string name, value, text;
};

std::string join(const std::vector<std::string>& words, const char* separator) {
  std::string joined;
  for (const std::string& w : words) joined += (joined.empty() ? "" : separator) + w;
  return joined;
}

// "text (note; note)", leaving out what is empty.
std::string with_notes(const std::string& text, const std::vector<std::string>& notes) {
  std::vector<std::string> given;
  for (const std::string& note : notes) {
    if (!note.empty()) given.push_back(note);
  }
  return given.empty() ? text : text + " (" + join(given, "; ") + ")";
}

std::string default_note(const std::string& fallback) {
  return fallback.empty() ? "" : "default: " + fallback;
}

Row row_of(const Flag& flag) {
  const bool positional = !flag.name.starts_with("--");
  return {positional && flag.many ? flag.name + "..." : flag.name,
          flag.choices.empty() ? flag.value : join(flag.choices, "|"),
          with_notes(flag.help, {flag.required && !positional ? "required" : "", flag.range,
                                 default_note(flag.fallback)})};
}

std::vector<Row> rows_of(const std::vector<Flag>& flags) {
  std::vector<Row> rows(flags.size());
  std::transform(flags.begin(), flags.end(), rows.begin(), row_of);
  return rows;
}

std::vector<Row> answer_rows() {
  return {{"--help", "", "print this text"}, {"--version", "", "print the version"}};
}

// The configuration keys that the program reads.
std::vector<ConfigKey> keys_of(const Spec& spec) {
  std::vector<ConfigKey> keys;
  std::ranges::copy_if(config_keys(), std::back_inserter(keys), [&](const ConfigKey& key) {
    const std::string group = key.name.substr(0, key.name.find('.'));
    return std::ranges::find(spec.groups, group) != spec.groups.end();
  });
  return keys;
}

std::vector<Row> key_rows(const Spec& spec) {
  std::vector<Row> rows;
  for (const ConfigKey& key : keys_of(spec))
    rows.push_back({key.name, "", with_notes(key.help, {key.type, default_note(key.fallback)})});
  return rows;
}

struct Section {
  std::string title;
  std::vector<Row> rows;
};

// The sections of flags and keys, in the order of help text and man page.
std::vector<Section> sections_of(const Spec& spec) {
  std::vector<Section> sections;
  if (!spec.flags.empty()) sections.push_back({"Options", rows_of(spec.flags)});
  if (!spec.commands.empty()) {
    sections.push_back({"Commands", {}});
    for (const Command& c : spec.commands) sections.back().rows.push_back({c.name, "", c.summary});
  }
  for (const Command& c : spec.commands) {
    if (!c.flags.empty()) sections.push_back({"Options of " + c.name, rows_of(c.flags)});
  }
  std::vector<Row> common = rows_of(common_flags(spec));
  const std::vector<Row> answers = answer_rows();
  common.insert(common.end(), answers.begin(), answers.end());
  sections.push_back({"Common options", common});
  if (!spec.groups.empty()) {
    sections.push_back({"Configuration keys (--config, --set)", key_rows(spec)});
  }
  return sections;
}

std::string usage_of(const Spec& spec) {
  std::string usage = spec.program;
  if (!spec.commands.empty()) {
    std::vector<std::string> names;
    for (const Command& c : spec.commands) names.push_back(c.name);
    usage += " " + join(names, "|");
  }
  for (const Flag& flag : spec.flags) {
    if (!flag.required) continue;
    usage += " " + flag.name;
    if (!flag.name.starts_with("--")) {
      if (flag.many) usage += "...";
    } else if (!flag.value.empty()) {
      usage += " " + flag.value;
    }
  }
  return usage + " [options]";
}

// Breaks `text` at spaces into lines that fit; every line but the first begins with `indent`
// spaces. Empty lines part paragraphs and stay.
std::string wrapped(const std::string& text, size_t indent) {
  if (const size_t gap = text.find("\n\n"); gap != std::string::npos) {
    return wrapped(text.substr(0, gap), indent) + "\n\n" + wrapped(text.substr(gap + 2), indent);
  }
  std::istringstream words(text);
  std::string out;
  size_t at = indent;
  for (std::string word; words >> word; at += word.size() + 1) {
    if (at > indent && at + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      at = indent;
    } else if (at > indent) {
      out += " ";
    }
    out += word;
  }
  return out;
}

std::string plain_row(const Row& row) {
  std::string line = "  " + row.name + (row.value.empty() ? "" : " " + row.value);
  if (line.size() + 2 > column) {
    line += "\n" + std::string(column, ' ');
  } else {
    line.resize(column, ' ');
  }
  return line + wrapped(row.text, column) + "\n";
}

}  // namespace

std::string config_text(const Spec& spec, const Config& config) {
  std::string text, group;
  for (const ConfigKey& key : keys_of(spec)) {
    const size_t dot = key.name.find('.');
    if (key.name.substr(0, dot) != group) {
      group = key.name.substr(0, dot);
      text += (text.empty() ? "" : "\n") + group + ":\n";
    }
    std::istringstream lines(
        wrapped(with_notes(key.help, {key.type, default_note(key.fallback)}), 4));
    for (std::string line; std::getline(lines, line);)
      text += "  # " + line.substr(std::min(line.find_first_not_of(' '), line.size())) + "\n";
    text += "  " + key.name.substr(dot + 1) + ": " + config_value(config, key.name) + "\n";
  }
  return text;
}

std::string help_text(const Spec& spec) {
  std::string text = str(spec.program, ": ", spec.summary, "\n\nUsage: ", usage_of(spec), "\n");
  if (!spec.description.empty()) text += "\n" + wrapped(spec.description, 0) + "\n";
  for (const Section& section : sections_of(spec)) {
    text += "\n" + section.title + ":\n";
    for (const Row& row : section.rows) text += plain_row(row);
  }
  return text;
}

std::string help_markdown(const Spec& spec) {
  std::string text = str("% ", spec.program, "(1) | unetd\n\n# NAME\n\n", spec.program, " - ",
                         spec.summary, "\n\n# SYNOPSIS\n\n`", usage_of(spec), "`\n");
  if (!spec.description.empty()) {
    text += "\n# DESCRIPTION\n\n" + wrapped(spec.description, 0) + "\n";
  }
  for (const Section& section : sections_of(spec)) {
    text += "\n# ";
    for (const char c : section.title) {
      text += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    text += "\n";
    for (const Row& row : section.rows) {
      const std::string value = row.value.empty() ? "" : " *" + row.value + "*";
      text += str("\n**", row.name, "**", value, "\n:   ", wrapped(row.text, 4), "\n");
    }
  }
  text +=
      "\n# EXIT STATUS\n\n0 when done, 1 when the work failed, 2 for a wrong command line or "
      "setting.\nOne line on standard error says what was wrong. Results go to standard output "
      "and files.\n";
  if (!spec.examples.empty()) text += "\n# EXAMPLES\n\n```\n" + spec.examples + "```\n";
  return text;
}

}  // namespace unetd::cli
