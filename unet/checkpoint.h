// Checkpoints: safetensors files that hold a model under PyTorch's state-dict names and layouts
// (filters OIHW, transposed filters IOHW), and beside it what training needs to go on with the same
// bits: moments, raw parameters where the model's tensors are a moving average, step. The header's
// metadata carries the configuration and whatever the programs add (classes, bands, normalisation).
#pragma once

#include "unet/trainer.h"
#include "unet/weight_file.h"

#include <filesystem>
#include <string>

namespace unetd {

// Writes <folder>/<name>.ckpt. Files appear whole or not at all; with `keep_previous` the one that
// was there stays as <name>.previous.ckpt. Throws UserError naming the file.
void save_checkpoint(const std::filesystem::path& file, const Trainer& trainer,
                     const Metadata& metadata, bool keep_previous);

// Writes the network alone as safetensors: what load_state_dict takes, with strict=True, in
// PyTorch. `batches` is what its batch norms say they have seen. Throws UserError naming the file.
void save_model(const std::filesystem::path& file, const Params& params, int64_t batches,
                const Metadata& metadata);

// An opened checkpoint, or a UNet whose tensors are named in one of the ways of unet/param_names.h,
// as safetensors or in a file of torch.save.
class Checkpoint {
 public:
  // Throws UserError when the file holds no UNet, or one with tensors missing, left over or of
  // other shapes than the rest implies: the message names the first of them.
  explicit Checkpoint(const std::filesystem::path& file);

  const Metadata& metadata() const { return file_.metadata(); }
  // Absent keys: an empty string.
  std::string get(const std::string& key) const;
  // The network as the tensors' names and shapes tell it. What they do not tell
  // (UNetConfig::take_untold) is from the configuration, where there is one.
  const UNetConfig& model() const { return model_; }
  // How many batches its first batch norm has seen; 0 where that is not told.
  int64_t batches() const;

  // Fills every parameter. Throws UserError naming the tensors that the parameters' network has in
  // other shapes, or one has and the other not.
  void load(Params& params) const;
  // Fills parameters, optimiser state and step; the next step then has the bits it would have had.
  // Throws UserError when the checkpoint has no training state.
  void restore(Trainer& trainer) const;

 private:
  Tensor read(const std::string& name, const ParamSpec& spec) const;

  WeightFile file_;
  UNetConfig model_;
};

}  // namespace unetd
