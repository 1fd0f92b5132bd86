#include "io/date.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <regex>

namespace unetd::io {

std::optional<std::string> stated_date(std::string_view text) {
  static const std::regex form(
      "(\\d{4})([-:])(\\d{2})\\2(\\d{2})([T ]\\d{2}:\\d{2}(:\\d{2}(\\.\\d+)?)?(Z|[+-]00:?00)?)?");
  std::match_results<std::string_view::const_iterator> parts;
  if (!std::regex_match(text.begin(), text.end(), parts, form)) return std::nullopt;
  const int year = std::stoi(parts[1]), month = std::stoi(parts[3]), day = std::stoi(parts[4]);
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  std::array<char, 16> out{};
  std::snprintf(out.data(), out.size(), "%04d-%02d-%02d", year, month, day);
  return out.data();
}

}  // namespace unetd::io
