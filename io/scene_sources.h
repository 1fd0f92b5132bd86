// What a scene is read from: one stack, band files of a folder or STAC item, or a product. Opening
// settles bands, calibration and grid; io/scene.cpp reads the pixels.
#pragma once

#include "engine/base/dtype.h"
#include "io/gdal.h"
#include "io/scene.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace unetd::io {

// A file and which of its bands go to which channels of the scene.
struct SceneSource {
  Dataset file;
  std::vector<int> bands;         // in the file, from 0
  std::vector<int64_t> channels;  // in the scene, ascending by one
  int64_t coarser = 1;            // how many scene pixels one of its pixels spans along an axis
  int64_t finer = 1;              // how many of its pixels one scene pixel spans; one of both is 1
  bool use_mask = false;
  bool categories = false;  // values are names, so they are never averaged
};

struct SceneSources {
  Grid grid;
  std::string date;  // as Scene::date() says
  std::vector<SceneBand> bands;
  DType dtype = DType::f32;  // of all bands
  std::vector<SceneSource> sources;
};

// Throws what Scene::open does.
SceneSources open_sources(const std::filesystem::path& path, const SceneOptions& options);

}  // namespace unetd::io
