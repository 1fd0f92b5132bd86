// Real Sentinel-2 products in tests: finding, copying and zipping them.
#pragma once

#include "io/scene.h"
#include "tests/support/temp_folder.h"
#include "tests/support/zip.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {

// The only product in a folder whose name has both words.
inline std::filesystem::path product_in(const std::filesystem::path& folder, const std::string& a,
                                        const std::string& b = "") {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.find(a) != std::string::npos && name.find(b) != std::string::npos) return entry.path();
  }
  FAIL("no " << a << " " << b << " in " << folder);
  return {};
}

inline SceneOptions at(int resolution, std::vector<std::string> bands = {}) {
  SceneOptions options;
  options.resolution = resolution;
  options.bands = std::move(bands);
  options.resampling = Resampling::nearest;
  return options;
}

inline std::filesystem::path zipped(const std::filesystem::path& product,
                                    const TempFolder& folder) {
  std::filesystem::path archive = folder / (product.filename().string() + ".zip");
  write_zip(product, archive);
  return archive;
}

// A copy of a product that can be damaged.
inline std::filesystem::path copied(const std::filesystem::path& product,
                                    const TempFolder& folder) {
  std::filesystem::path copy = folder / product.filename().string();
  std::filesystem::copy(product, copy, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(copy))
    std::filesystem::permissions(entry, std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::add);
  return copy;
}

inline std::filesystem::path find_file(const std::filesystem::path& folder,
                                       const std::string& word) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.path().filename().string().find(word) != std::string::npos) return entry.path();
  FAIL("no " << word << " below " << folder);
  return {};
}

}  // namespace unetd::io
