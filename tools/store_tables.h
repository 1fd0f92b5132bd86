// What a patch store holds, as tables for a terminal.
#pragma once

#include "io/patch_store.h"

#include <string>

namespace unetd {

// Patches, pixels of each class and their share of the labelled ones, split by split.
std::string class_table(const io::StoreSchema& schema);

// A line a band, of the samples of training patches as the store holds them, with the shares of
// pixels without data and, where a band says how these look, of saturated ones.
std::string statistics_table(const io::StoreSchema& schema);

}  // namespace unetd
