// Dates as products, STAC items and metadata state them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace unetd::io {

// "2022-10-05" of that text itself, of "2022:10:05", and of either with a time in UTC behind it:
// "2022-10-05T11:33:19.024Z". Nothing if the text is no such date, or its time is another zone's.
std::optional<std::string> stated_date(std::string_view text);

}  // namespace unetd::io
