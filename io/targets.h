// Targets: what a network learns to predict where it predicts a number a pixel instead of a class
// (a density, a height). They come from rasters of one band on the scene's grid.
//
//   target = stored value * scale + offset    as the raster's band states them, in f64, kept in f32
//
// A pixel has no target where the raster has no data (its nodata value, its mask, NaN, infinity) or
// one of the values listed to be ignored; it is NaN, and left out of loss and scores.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"
#include "io/labels.h"
#include "io/strips.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace unetd::io {

// What a store says of its targets. The numbers are of the training patches' pixels that have one,
// and all 0 where there is none.
struct Target {
  std::string name, unit;  // "canopy height", "m"; a unit may be empty
  int64_t count = 0;
  double min = 0, max = 0, mean = 0, stddev = 0;

  // "canopy height in m"
  std::string in_words() const { return name + (unit.empty() ? "" : " in " + unit); }
  bool operator==(const Target&) const = default;
};

// The one output of a network that predicts the target, as an entry of the store's classes:
// planning labels are 0 where there is a target and 255 elsewhere.
ClassInfo output_of(const Target& target);

struct TargetOptions {
  std::string name, unit;
  std::vector<double> ignore;  // values as the rasters store them, before scale and offset
};

// Throws UsageError for a name that is empty or holds what a line of text cannot.
void check(const TargetOptions& options);

// One raster of targets. Like a Dataset it is used by one thread at a time.
class TargetRaster {
 public:
  // Throws UserError: no raster, another grid than the scene's (with the command that brings it
  // there), several bands, complex numbers; UsageError for what names classes: vectors, "SCL",
  // "rules".
  static TargetRaster open(const std::filesystem::path& path, const Grid& scene,
                           const TargetOptions& options);
  TargetRaster(TargetRaster&&) noexcept;
  TargetRaster& operator=(TargetRaster&&) noexcept;
  ~TargetRaster();

  // The targets of a window, {1, h, w, 1} f32, NaN where there is none and outside the scene.
  // Throws UserError on damaged data.
  Tensor read(const Window& window) const;
  // Where there are any in the whole scene, {1, h, w, 1} u8: 0, elsewhere 255. Goes through the
  // raster in strips. Throws UserError if there is none at all.
  Tensor labels(const Share& share = {}) const;

 private:
  struct State;
  explicit TargetRaster(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace unetd::io
