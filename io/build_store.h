// From scenes and label rasters to a patch store, in one call.
#pragma once

#include "io/labels.h"
#include "io/patch_store.h"
#include "io/sampling.h"
#include "io/scene.h"
#include "io/targets.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

struct LabelledScene {
  std::filesystem::path scene, labels;  // labels, or a raster of targets
  std::optional<Split> split = {};      // all sources have one, or none
  std::string date = {};                // "2022-10-05", instead of what the scene says
};

struct BuildOptions {
  std::vector<LabelledScene> sources;
  SceneOptions scene;
  ClassMap classes;
  std::optional<TargetOptions> target = {};  // instead of classes, which then lists none
  SamplingOptions sampling;
  SplitOptions split;
  std::filesystem::path out;
  bool overwrite = false;
  bool append = false;  // to the store at `out`
};

// Told of each stage by its name: `done` rows or patches of `total`.
using StageProgress = std::function<void(const std::string& stage, int64_t done, int64_t total)>;

// Reads, samples, writes. Scenes must have the same bands and sample type; where their offsets
// differ, stored samples are brought to the first scene's. Beside the shards the store gets
// statistics.png, overview.png and classes.png, or target.png. `progress` is told of each stage of
// each scene, by "SCENE: STAGE", in rows or patches, from its beginning to its end. Throws
// UserError or UsageError; then nothing is left behind.
//
// With `append`, patches of the sources that the store does not have yet are added to it, and it
// becomes, byte for byte, what one run on all sources would have made, given the same options. The
// store stays as it is until the new one takes its place. Refused (UserError): other bands,
// classes or target, patch size, sample type or ways of reading, a source that has changed since,
// and a limit by date where the store has the date. Refused (UsageError): a deal by shares, which
// depends on all scenes.
StoreSchema build_store(const BuildOptions& options, const StageProgress& progress = {});

// Pairs the rasters of two folders by the stem of their names. Throws UserError naming what has no
// partner.
std::vector<LabelledScene> pair_by_stem(const std::filesystem::path& scenes,
                                        const std::filesystem::path& labels,
                                        std::optional<Split> split);

}  // namespace unetd::io
