// What is kept on disk for later processes because it costs time to find: measured choices, plans.
// Nothing but time is lost with it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace unetd {

// $XDG_CACHE_HOME/unetd or ~/.cache/unetd; empty where the environment names neither.
std::filesystem::path cache_folder();

// FNV-1a of 64 bits, in hexadecimal digits: names files, and tells damaged ones.
std::string checksum(std::string_view content);

}  // namespace unetd
