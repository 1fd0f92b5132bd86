#include "tools/bench/compare.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/device/timing.h"

#include <cmath>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

namespace unetd::bench {
namespace {

using nlohmann::ordered_json;
using Timings = std::vector<std::pair<std::string, double>>;

Timings timings_of(const ordered_json& result) {
  Timings timings;
  const std::string benchmark = result.at("benchmark");
  if (benchmark == "io") {
    for (const ordered_json& rate : result.at("rates"))
      timings.emplace_back(rate.at("name"), 1 / rate.at("per_second").get<double>());
    return timings;
  }
  if (benchmark != "ops") {
    const std::vector<double> seconds = result.at("seconds");
    timings.emplace_back(benchmark + " " + result.at("network").dump(), median(seconds));
    return timings;
  }
  for (const ordered_json& c : result.at("cases")) {
    for (const ordered_json& impl : c.at("implementations")) {
      timings.emplace_back(
          c.at("case").get<std::string>() + " [" + impl.at("name").get<std::string>() + "]",
          impl.at("seconds").get<double>());
    }
  }
  return timings;
}

Timings read_timings(const std::filesystem::path& file) {
  const std::string text = read_file(file);
  try {
    return timings_of(ordered_json::parse(text));
  } catch (const ordered_json::exception&) {
    throw UserError(str(file.string(), ": no result of unetd-bench; make one with --json FILE"));
  }
}

}  // namespace

Comparison compare(const std::filesystem::path& before, const std::filesystem::path& after) {
  const Timings old_timings = read_timings(before), new_timings = read_timings(after);
  std::map<std::string, double> unmatched(new_timings.begin(), new_timings.end());
  Comparison result;
  for (const auto& [name, seconds] : old_timings) {
    const auto match = unmatched.find(name);
    if (match == unmatched.end()) {
      result.only_before.push_back(name);
      continue;
    }
    result.rows.push_back({name, seconds, match->second});
    unmatched.erase(match);
  }
  for (const auto& [name, seconds] : unmatched) result.only_after.push_back(name);
  return result;
}

double Comparison::mean_speedup() const {
  double logarithms = 0;
  for (const Row& row : rows) logarithms += std::log(row.speedup());
  return std::exp(logarithms / static_cast<double>(rows.size()));
}

}  // namespace unetd::bench
