// Two result files of unetd-bench side by side.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace unetd::bench {

struct Comparison {
  struct Row {
    std::string name;              // case and implementation
    double before = 0, after = 0;  // seconds
    double speedup() const { return before / after; }
  };
  std::vector<Row> rows;                             // in the order of the first file
  std::vector<std::string> only_before, only_after;  // names that the other file lacks

  double mean_speedup() const;  // geometric; rows must not be empty
};

// Throws UserError when a file cannot be read or was not written by unetd-bench.
Comparison compare(const std::filesystem::path& before, const std::filesystem::path& after);

}  // namespace unetd::bench
