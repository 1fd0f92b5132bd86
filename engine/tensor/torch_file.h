// A state dict as torch.save writes it, since PyTorch 1.6: a ZIP archive of a pickle, which says
// what there is (torch_pickle.h), and one file a storage with the numbers. Nothing in it is
// executed, and no number is copied until it is asked for.
#pragma once

#include "engine/base/mapped_file.h"
#include "engine/tensor/tensor_view.h"

#include <filesystem>
#include <map>
#include <string>

namespace unetd {

class TorchFile {
 public:
  // Finds the state dict: the dict at the root, or the one that it holds as state_dict,
  // model_state_dict or model. Entries that are no tensors are passed over with a note. Throws
  // UserError, in one line with the remedy, for files of another kind, damaged ones, what only code
  // could make, and tensors that claim more than the file has.
  explicit TorchFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

 private:
  MappedFile file_;
  std::map<std::string, TensorView> tensors_;  // of file_
};

// Does the file begin as those of torch.save do, of this or an older format?
bool is_torch_file(const std::filesystem::path& path);

}  // namespace unetd
