// Runs a built program and catches what it says.
#pragma once

#include "engine/base/file.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/wait.h>

namespace unetd {

struct ProgramResult {
  int code = -1;  // exit code; -1 when a signal ended the program
  std::string out, err;

  // Is stderr one line, and does it say this?
  bool complains(const std::string& about) const {
    return std::count(err.begin(), err.end(), '\n') == 1 && err.find(about) != std::string::npos;
  }
};

// A command for the shell.
inline ProgramResult run_command(const std::string& command) {
  const TempFolder folder;
  const std::string out = (folder / "out").string(), err = (folder / "err").string();
  const int status = std::system((command + " >" + out + " 2>" + err).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(err)};
}

// `arguments` are words for the shell: "unetd-info model --preset milesial".
inline ProgramResult run_program(const std::string& arguments) {
  return run_command(UNETD_PROGRAM_DIR "/" + arguments);
}

// The names of all programs: tools/unetd_x.cpp is unetd-x.
inline std::vector<std::string> program_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(UNETD_SOURCE_DIR "/tools")) {
    std::string name = entry.path().stem();
    if (entry.path().extension() != ".cpp" || !name.starts_with("unetd_")) continue;
    std::replace(name.begin(), name.end(), '_', '-');
    names.push_back(name);
  }
  return names;
}

}  // namespace unetd
