// Checkpoints: safetensors files that hold a model under PyTorch's state-dict names and layouts
// (filters OIHW, transposed filters IOHW), and beside it what training needs to go on with the same
// bits: moments, raw parameters where the model's tensors are a moving average, step. The header's
// metadata carries the configuration and whatever the programs add (classes, bands, normalisation).
#pragma once

#include "unet/trainer.h"

#include <filesystem>
#include <map>
#include <string>

namespace unetd {

using Metadata = std::map<std::string, std::string>;

// Writes <folder>/<name>.ckpt. Files appear whole or not at all; with `keep_previous` the one that
// was there stays as <name>.previous.ckpt. Throws UserError naming the file.
void save_checkpoint(const std::filesystem::path& file, const Trainer& trainer,
                     const Metadata& metadata, bool keep_previous);

// An opened checkpoint or plain safetensors file of a UNet in milesial's naming.
class Checkpoint {
 public:
  // Throws UserError when the file is no safetensors file or holds no UNet.
  explicit Checkpoint(const std::filesystem::path& file);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;

  const Metadata& metadata() const;
  // Absent keys: an empty string.
  std::string get(const std::string& key) const;
  // Width, depth, channels, classes, bias and up-sampling as the tensors' names and shapes say;
  // batch norm's constants from the configuration, where there is one.
  UNetConfig model() const;

  // Fills every parameter. Throws UserError naming the first tensor that is missing or has another
  // shape.
  void load(Params& params) const;
  // Fills parameters, optimiser state and step; the next step then has the bits it would have had.
  // Throws UserError when the checkpoint has no training state.
  void restore(Trainer& trainer) const;

 private:
  struct File;
  std::unique_ptr<File> file_;
};

}  // namespace unetd
