// TensorBoard's event files, written by hand: TFRecord framing (length and data, each with a masked
// CRC-32C) around the few protobuf fields of tensorflow.Event that scalars need.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace unetd {

using Scalars = std::vector<std::pair<std::string, double>>;  // tag, value

class EventFile {
 public:
  // A run's first file; those of a run that was here before are removed.
  static EventFile first(const std::filesystem::path& folder);
  // Goes on after `step`, in a file of its own: what was written stays as it is, and TensorBoard is
  // told to pass over the later steps in it, which are about to happen again.
  static EventFile resumed(const std::filesystem::path& folder, int64_t step);

  // Values are stored as 32-bit floats, as TensorBoard has them. Throws UserError on a full disk.
  void add(int64_t step, const Scalars& scalars);

 private:
  // A file that comes after those that the folder has.
  explicit EventFile(const std::filesystem::path& folder);
  // One record: an event now, with these protobuf fields.
  void write(const std::string& fields);

  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace unetd
