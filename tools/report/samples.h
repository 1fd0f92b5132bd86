// Patches to look at: what the network makes of them beside the truth.
#pragma once

#include "io/patch_store.h"
#include "io/scene.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace unetd::report {

struct Sample {
  std::string place;          // file, column and row of its upper left corner
  double accuracy = 0;        // share of the labelled pixels that are right
  std::string worst_mistake;  // "water taken for shadow: 132 pixels", or empty
  std::vector<std::pair<std::string, Tensor>> pictures;  // with what they show
};

// Patches of a split, one from each of `count` equal stretches of it, so that they come from all of
// its ground: the one with the most even mix of classes, the first of equals. Stretches without a
// labelled pixel give none.
std::vector<int64_t> choose_patches(const io::PatchStore& store, io::Split split,
                                    int64_t count = 6);

// The classes u8 {1, h, w, 1} of the pixels of a raw patch.
using Predict = std::function<Tensor(const io::Raster& patch)>;

std::vector<Sample> draw_samples(const io::PatchStore& store, const std::vector<int64_t>& patches,
                                 const Predict& predict);

}  // namespace unetd::report
