// What must hold for scenes to be added to a patch store.
#pragma once

#include "io/build_store.h"
#include "io/patch_store.h"

#include <vector>

namespace unetd::io {

// Throws UserError naming the first difference of patch size, classes, target or ways of
// reading.
void check_continues(const PatchStore& store, const BuildOptions& options);

// The sources that the store does not have; those that it has are named in warnings. Throws
// UserError for one whose scene or labels are others, or of another size, than when it was cut.
std::vector<LabelledScene> sources_not_in(const PatchStore& store,
                                          const std::vector<LabelledScene>& sources);

// The store's schema with its sources, but without patches.
StoreSchema schema_to_continue(const PatchStore& store);

}  // namespace unetd::io
