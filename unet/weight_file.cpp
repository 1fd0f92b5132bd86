#include "unet/weight_file.h"

#include "engine/base/error.h"
#include "engine/tensor/torch_pickle.h"

#include <string_view>
#include <utility>

namespace unetd {
namespace {

std::variant<SafeTensorsFile, TorchFile> open(const std::filesystem::path& path) {
  if (is_torch_file(path)) return TorchFile(path);
  try {
    return SafeTensorsFile(path);
  } catch (const UserError&) {
    const std::string suffix = path.extension().string();
    const bool expected = suffix == ".pth" || suffix == ".pt";
    if (!expected || !std::filesystem::is_regular_file(path)) throw;
  }
  throw UserError(str(path.string(), " is no file of torch.save, or its beginning is damaged; ",
                      "write it again by torch.save(model.state_dict(), FILE)"));
}

std::string without_prefixes(std::string_view name) {
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view prefix : {"module.", "_orig_mod."}) {
      if (!name.starts_with(prefix)) continue;
      name.remove_prefix(prefix.size());
      found = true;
    }
  }
  return std::string(name);
}

bool is_floating(DType type) {
  return type == DType::f32 || type == DType::f64 || type == DType::f16 || type == DType::bf16;
}

}  // namespace

WeightFile::WeightFile(const std::filesystem::path& path) : path_(path), file_(open(path)) {
  const auto add = [&](const std::string& name, TensorView view) {
    const std::string bare = without_prefixes(name);
    if (!tensors_.emplace(bare, std::move(view)).second) {
      throw UserError(str(path.string(), ": has two tensors of the name ", printable(bare),
                          " but for the prefixes module. and _orig_mod.; leave one"));
    }
  };
  if (const auto* const torch = std::get_if<TorchFile>(&file_)) {
    for (const auto& [name, view] : torch->tensors()) add(name, view);
    return;
  }
  const auto& safe = std::get<SafeTensorsFile>(file_);
  metadata_ = safe.metadata();
  for (const auto& [name, info] : safe.tensors())
    add(name, {info.dtype, info.shape, dense_strides(info.shape), safe.bytes(name)});
}

const TensorView* WeightFile::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

std::vector<float> WeightFile::read(const std::string& name,
                                    const std::vector<int64_t>& shape) const {
  const TensorView* const view = find(name);
  if (view == nullptr) throw UserError(str(path_.string(), ": has no tensor ", name));
  if (view->shape != shape) {
    throw UserError(str(path_.string(), ": ", name, " is ", shape_text(view->shape),
                        ", the network's is ", shape_text(shape)));
  }
  if (!is_floating(view->dtype)) {
    throw UserError(str(path_.string(), ": ", name, " holds ", name_of(view->dtype),
                        "; save the network in floating-point numbers"));
  }
  return to_floats(*view);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : "x") + std::to_string(extent);
  return shape.empty() ? "a number" : text;
}

}  // namespace unetd
