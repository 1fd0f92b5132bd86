// What a file of weights alone does not say: which bands its network reads and how their values are
// normalised, what its outputs mean. docs/weights.md describes the file that says it, which lies
// beside the weights and has their name with the suffix .yml.
#pragma once

#include "unet/unet_config.h"
#include "unet/weight_file.h"

#include <filesystem>

namespace unetd {

std::filesystem::path description_beside(const std::filesystem::path& weights);

// The description as the metadata that a checkpoint of unetd-train has. `network` is what the
// weights tell. Throws UsageError naming file, line and key.
Metadata read_description(const std::filesystem::path& path, const UNetConfig& network);

// The metadata that a file of weights has of its `own`, or, where they do not say what is needed,
// those of the description beside it, if there is one.
Metadata complete_metadata(const std::filesystem::path& weights, const Metadata& own,
                           const UNetConfig& network);

}  // namespace unetd
