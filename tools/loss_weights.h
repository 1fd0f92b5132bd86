// The weights of the classes in each term of a loss, from the configuration and a store's counts.
#pragma once

#include "io/patch_store.h"
#include "unet/config.h"

#include <cstdint>
#include <vector>

namespace unetd {

// One factor a class for each term, from the pixels of the train split; none where a term has no
// weights. Throws UsageError for a list that does not fit the network's outputs.
std::vector<std::vector<float>> loss_weights(const Config::Loss& loss,
                                             const io::StoreSchema& schema, int64_t outputs);

}  // namespace unetd
