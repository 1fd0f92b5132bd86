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

// Over how many of the eight flips and turns probabilities are averaged.
constexpr int views_of(Config::Tta tta) {
  return tta == Config::Tta::d4 ? 8 : tta == Config::Tta::flips ? 4 : 1;
}

class SceneMapper {
 public:
  // Tiles, stitching, window, overlap and turns are those of model.config.inference. Throws
  // UsageError for combinations that have no meaning.
  SceneMapper(const ModelFile& model, Outputs outputs);

  // Feeds the sink part by part with f32 {1, h, w, outputs}, values in their unit, or with classes
  // u8 {1, h, w, 1}; pixels without data are left out.
  void map(const io::Scene& scene, const io::MapSink& sink, const io::Progress& progress);

 private:
  io::TilePlan plan(const io::Grid& grid) const;
  Band& band(const io::TilePlan& plan);

  const ModelFile& model_;
  Outputs outputs_;
  int views_;
  Predictor predictor_;
  std::optional<Band> band_;  // of blended maps
};

}  // namespace unetd
