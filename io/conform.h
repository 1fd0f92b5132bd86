// Scenes of one store mean the same by the same samples: which of them can be brought to that, and
// how.
#pragma once

#include "io/patch_store.h"
#include "io/scene.h"

#include <vector>

namespace unetd::io {

// Throws UserError naming both scenes, what differs and the remedy, if bands or sample type of
// `scene` are not those of the store, whose first scene the schema names.
void check_conforms(const StoreSchema& store, const Scene& scene);

// Brings samples of a scene to the meaning that a store's bands give them.
class Conversion {
 public:
  // Throws UserError where the scales differ, or offsets by no whole number of samples.
  Conversion(const StoreSchema& store, const Scene& scene);

  // Valid samples are shifted, kept within the range of their type; the values for nodata and
  // saturated pixels become those of the store.
  void apply(Raster& raster) const;

 private:
  std::vector<SceneBand> from_, to_;
  std::vector<double> shifts_;
  bool needed_ = false;
};

}  // namespace unetd::io
