// What PyTorch answers: tests/fixtures/*.safetensors, written by tests/make_fixtures.py and
// make_loss_fixtures.py. Tensors of a case are named "case/x", its attributes are metadata entries
// "case/stride".
#pragma once

#include "engine/tensor/safetensors.h"
#include "engine/tensor/tensor.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace unetd {

// A shape of 0 to 4 dimensions, filled up with ones in front: a vector is (1, 1, 1, c).
inline Shape shape_of(const SafeTensorInfo& info) {
  const std::vector<int64_t>& dims = info.shape;
  UNETD_CHECK(dims.size() <= 4, "tensor of ", dims.size(), " dimensions");
  int64_t extents[4] = {1, 1, 1, 1};
  std::copy(dims.rbegin(), dims.rend(), std::rbegin(extents));
  return {extents[0], extents[1], extents[2], extents[3]};
}

// A copy of the tensor, in the element type of the file.
inline Tensor load_tensor(const SafeTensorsFile& file, const std::string& name) {
  const SafeTensorInfo& info = file.info(name);
  Tensor t(shape_of(info), info.dtype);
  const std::span<const std::byte> bytes = file.bytes(name);
  if (!bytes.empty()) std::memcpy(t.data(), bytes.data(), bytes.size());
  return t;
}

// A metadata entry that is a number.
inline double load_number(const SafeTensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  UNETD_CHECK(found != file.metadata().end(), file.path(), " has no attribute ", key);
  return std::stod(found->second);
}

inline SafeTensorsFile open_fixture(const std::string& name) {
  const std::filesystem::path folder = UNETD_SOURCE_DIR "/tests/fixtures";
  return SafeTensorsFile(folder / (name + ".safetensors"));
}

// One case of an operation's file.
class FixtureCase {
 public:
  FixtureCase(std::shared_ptr<const SafeTensorsFile> file, std::string name)
      : file_(std::move(file)), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  bool has(const std::string& tensor) const { return file_->contains(key(tensor)); }
  Shape shape(const std::string& tensor) const { return shape_of(file_->info(key(tensor))); }
  Tensor tensor(const std::string& tensor) const { return load_tensor(*file_, key(tensor)); }
  bool has_number(const std::string& attribute) const {
    return file_->metadata().contains(key(attribute));
  }
  double number(const std::string& attribute) const { return load_number(*file_, key(attribute)); }
  float single(const std::string& attribute) const { return static_cast<float>(number(attribute)); }
  int64_t integer(const std::string& attribute) const {
    return static_cast<int64_t>(number(attribute));
  }

 private:
  std::string key(const std::string& entry) const { return name_ + "/" + entry; }

  std::shared_ptr<const SafeTensorsFile> file_;
  std::string name_;
};

// All cases of tests/fixtures/<op>.safetensors, in the order of their names.
inline std::vector<FixtureCase> fixture_cases(const std::string& op) {
  const auto file = std::make_shared<const SafeTensorsFile>(open_fixture(op));
  std::vector<FixtureCase> cases;
  for (const auto& [tensor, info] : file->tensors()) {
    const std::string name = tensor.substr(0, tensor.find('/'));
    if (cases.empty() || cases.back().name() != name) cases.emplace_back(file, name);
  }
  return cases;
}

}  // namespace unetd
