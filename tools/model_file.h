// What a checkpoint means to the programs: the network with its parameters, and how scenes must be
// prepared for it. Weights alone (a state dict of PyTorch) are completed by the description beside
// them (model_description.h); without it they get neutral values: bands by position, numbered
// classes, no normalisation.
#pragma once

#include "io/normalise.h"
#include "io/patch_store.h"
#include "unet/checkpoint.h"
#include "unet/targets.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace unetd {

// What a network predicts that was trained on targets, and the scale in which it does so.
struct ModelTarget {
  io::Target data;
  TargetScale scale;
};

struct ModelFile {
  Config config;
  UNetConfig unet;
  Params params;
  io::SceneOptions scene;  // how scenes were read for it: bands and resolution
  // Two where a single output tells two classes apart; one where that is a value.
  std::vector<io::ClassInfo> classes;
  std::optional<ModelTarget> target;  // of a network that predicts values
  io::Normalisation normalisation;
  Metadata metadata;
  int64_t batches = 0;  // that its batch norms have seen

  // Are the outputs independent sigmoids? A single one is, for it cannot compete.
  bool independent() const { return config.loss.independent_outputs() || unet.classes == 1; }
};

// `configure` lays command-line settings over the stored configuration.
ModelFile open_model(const std::filesystem::path& path,
                     const std::function<Config(const Config& stored)>& configure);

// Bands, classes or target, and normalisation as checkpoint metadata.
Metadata describe_data(const io::StoreSchema& schema, const io::Normalisation& normalisation,
                       const TargetScale& scale = {});

// The scale in which a network learns a store's targets, by normalisation.target.
TargetScale target_scale(const Config& config, const io::StoreSchema& schema);

// Throws UserError when a store's bands, classes or target are not those that the model was trained
// on.
void check_store(const ModelFile& model, const io::StoreSchema& schema, const std::string& path);

}  // namespace unetd
