// What a patch store holds, as tables for a terminal.
#pragma once

#include "io/patch_store.h"

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace unetd {

// Patches, pixels of each class and their share of the labelled ones, split by split. Pixels with a
// target are those of its one class.
std::string class_table(const io::StoreSchema& schema);

// A line of the targets of training patches, in their unit.
std::string target_table(const io::Target& target);
// The same: name, unit, count, min, max, mean, stddev.
nlohmann::ordered_json to_json(const io::Target& target);

// A line a band, of the samples of training patches as the store holds them, with the shares of
// pixels without data and, where a band says how these look, of saturated ones.
std::string statistics_table(const io::StoreSchema& schema);

}  // namespace unetd
