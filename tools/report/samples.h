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
  std::string place;  // file, column and row of its upper left corner
  // "87.5 % right; water taken for shadow: 132 pixels", or of values "RMSE 0.031, bias -0.002"
  std::string result;
  std::vector<std::pair<std::string, Tensor>> pictures;  // with what they show
};

// Patches of a split, one from each of `count` equal stretches of it, so that they come from all of
// its ground: the one with the most even mix of classes or the widest spread of targets, the first
// of equals. Stretches without a labelled pixel give none.
std::vector<int64_t> choose_patches(const io::PatchStore& store, io::Split split,
                                    int64_t count = 6);

// What the pixels of a raw patch have: classes u8, or values f32 in their unit, {1, h, w, 1}.
using Predict = std::function<Tensor(const io::Raster& patch)>;

std::vector<Sample> draw_samples(const io::PatchStore& store, const std::vector<int64_t>& patches,
                                 const Predict& predict);

}  // namespace unetd::report
