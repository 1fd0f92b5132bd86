// From scenes and label rasters to a patch store, in one call.
#pragma once

#include "io/labels.h"
#include "io/patch_store.h"
#include "io/sampling.h"
#include "io/scene.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

namespace unetd::io {

struct LabelledScene {
  std::filesystem::path scene, labels;
  std::optional<Split> split;  // all sources have one, or none
};

struct BuildOptions {
  std::vector<LabelledScene> sources;
  SceneOptions scene;
  ClassMap classes;
  SamplingOptions sampling;
  SplitOptions split;
  std::filesystem::path out;
  bool overwrite = false;
};

// done of total patches, of all scenes so far opened.
using Progress = std::function<void(int64_t done, int64_t total)>;

// Reads, samples, writes. Scenes must have the same bands and sample type; where their offsets
// differ, stored samples are brought to the first scene's. Throws UserError or UsageError; then
// nothing is left behind.
StoreSchema build_store(const BuildOptions& options, const Progress& progress = {});

// Pairs the rasters of two folders by the stem of their names. Throws UserError naming what has no
// partner.
std::vector<LabelledScene> pair_by_stem(const std::filesystem::path& scenes,
                                        const std::filesystem::path& labels,
                                        std::optional<Split> split);

}  // namespace unetd::io
