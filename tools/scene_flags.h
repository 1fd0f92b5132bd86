// The flags of all programs that read scenes.
#pragma once

#include "io/scene.h"
#include "tools/cli.h"

#include <vector>

namespace unetd::cli {

// --extra, --granule, --scale and --offset.
std::vector<Flag> scene_flags();

// Lays them over `options`. Throws UsageError for an --extra that is not NAME=PATH[:METHOD].
void apply_scene_flags(const Args& args, io::SceneOptions& options);

}  // namespace unetd::cli
