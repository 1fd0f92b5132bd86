// Which implementation was the fastest where it was measured (engine/autograd/tuner.h), by problem
// and candidates: for this process, and in one file per device for later ones.
#pragma once

#include "engine/device/device.h"

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unetd {

// Those of the names that compete by speed: the reference only where it is alone.
std::vector<std::string_view> competitors(std::vector<std::string_view> takers);
// The index of the fastest. What stands earlier, in the order of preference, counts as faster
// unless the difference is more than chance.
size_t fastest(std::span<const double> seconds);

class TuneStore {
 public:
  // `device` is a text that names all that a measurement depends on; the file lies in `folder`. An
  // empty folder keeps nothing on disk. A file that is damaged counts for nothing, with a note in
  // the log.
  TuneStore(std::string device, const std::filesystem::path& folder);

  // The store of this machine's device, in cache_folder().
  static TuneStore present(DeviceType device);

  // The fastest of these for a problem (identity_of), or empty where that is not known: another
  // build may have other implementations.
  std::string find(const std::string& problem, std::span<const std::string_view> names) const;
  void add(const std::string& problem, std::span<const std::string_view> names,
           std::string_view fastest);

  // Writes the file if anything was added, with what other processes added meanwhile. What cannot
  // be written is told in the log.
  void save();
  const std::filesystem::path& file() const { return file_; }

 private:
  using Choices = std::map<std::string, std::string>;
  std::optional<Choices> load() const;  // nothing: the file is damaged

  std::string device_;
  std::filesystem::path file_;
  Choices choices_;
  bool changed_ = false;
};

}  // namespace unetd
