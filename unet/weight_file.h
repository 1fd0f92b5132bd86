// Named tensors of a model, whatever wrote the file: safetensors (our checkpoints are such files)
// or torch.save. Which one it is the file's first bytes tell, not its suffix.
#pragma once

#include "engine/tensor/safetensors.h"
#include "engine/tensor/torch_file.h"

#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace unetd {

using Metadata = std::map<std::string, std::string>;

class WeightFile {
 public:
  // Names lose the prefixes that wrapped models put before them: `module.` (data parallel) and
  // `_orig_mod.` (compiled). Throws UserError as the two kinds of files do, and where two names
  // become one.
  explicit WeightFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  // Files of torch.save have none.
  const Metadata& metadata() const { return metadata_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  // Null if there is no such tensor.
  const TensorView* find(const std::string& name) const;
  // As f32, dense, in PyTorch's order. Throws UserError if there is no such tensor or if it is not
  // of this shape or no floating-point one.
  std::vector<float> read(const std::string& name, const std::vector<int64_t>& shape) const;

 private:
  std::filesystem::path path_;
  std::variant<SafeTensorsFile, TorchFile> file_;  // keeps what the views see
  Metadata metadata_;
  std::map<std::string, TensorView> tensors_;
};

// "2x3x3x3" or "a number".
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace unetd
