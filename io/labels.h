// Label rasters: integers on the scene's grid that name classes. Raw values become class indices;
// pixels to be left out of loss and scores become 255.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace unetd::io {

inline constexpr uint8_t ignore_label = 255;

struct ClassInfo {
  int64_t value = 0;  // in label rasters
  std::string name;
  std::string color = "#808080";  // #rrggbb

  bool operator==(const ClassInfo&) const = default;
};

// Red, green and blue of "#rrggbb".
std::array<uint8_t, 3> rgb(const std::string& color);

// The class index is the position in `classes`. The raster's own nodata value is ignored, too,
// unless a class has it.
struct ClassMap {
  std::vector<ClassInfo> classes;
  std::vector<int64_t> ignore;
};

// Throws UsageError: no class or over 255, a value or name twice, a colour that is not #rrggbb.
void check(const ClassMap& map);

// The whole raster as {1, h, w, 1} u8 of class indices and 255. Throws UserError if it is not on
// the scene's grid (with the command that brings it there) or holds values that no class has.
Tensor read_labels(const std::filesystem::path& path, const Grid& scene, const ClassMap& map);

}  // namespace unetd::io
