// A made-up scene as a Sentinel-2 product: a .SAFE folder of level 1C in the compact layout, one
// JP2 a band at its native resolution, with the metadata that readers need.
#pragma once

#include <filesystem>
#include <functional>

namespace unetd::synth {

// The product's name, and that of its folder.
inline constexpr const char* product_name =
    "S2X_MSIL1C_20200101T000000_N0500_R000_T32TNS_20200101T000000.SAFE";

// Writes it into `folder` from the stack of 13 bands that generate() makes. Coarser bands are
// means; one pixel without data leaves none. `progress` receives the share done. Throws UserError
// if it exists (without `overwrite`) or cannot be written, UsageError where the stack's sides are
// no multiples of 60 m.
void write_product(const std::filesystem::path& folder, const std::filesystem::path& stack,
                   bool overwrite, const std::function<void(double)>& progress);

}  // namespace unetd::synth
