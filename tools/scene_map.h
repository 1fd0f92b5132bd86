// Runs a model over a whole scene: what unetd-infer writes and unetd-eval scores.
#pragma once

#include "io/scene.h"
#include "io/stitch.h"
#include "tools/model_file.h"
#include "unet/predictor.h"

#include <optional>

namespace unetd {

// Opens a scene with the model's bands. Throws UserError when it lacks one, or has another number.
io::Scene open_scene(const std::filesystem::path& path, const ModelFile& model);

class SceneMapper {
 public:
  // Tiles, stitching, window, overlap and turns are those of model.config.inference. `logits`: give
  // logits instead of probabilities. Throws UsageError for combinations that have no meaning.
  SceneMapper(const ModelFile& model, bool logits);

  // Feeds the sink part by part with f32 {1, h, w, outputs}; pixels without data are left out.
  void map(const io::Scene& scene, const io::MapSink& sink, const io::Progress& progress);

 private:
  io::TilePlan plan(const io::Grid& grid) const;

  const ModelFile& model_;
  bool logits_;
  int views_;
  Predictor predictor_;
};

}  // namespace unetd
