// Label rasters: integers on the scene's grid that name classes. Raw values become class indices;
// pixels to be left out of loss and scores become 255.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"
#include "io/strips.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace unetd::io {

class Dataset;

inline constexpr uint8_t ignore_label = 255;

struct ClassInfo {
  int64_t value = 0;  // in label rasters
  std::string name;
  std::string color = "#808080";  // #rrggbb

  bool operator==(const ClassInfo&) const = default;
};

// Red, green and blue of "#rrggbb".
std::array<uint8_t, 3> rgb(const std::string& color);

// How vector labels are burned (io/label_sources.h).
struct VectorLabels {
  std::string attribute;  // its value says a feature's class
  std::string layer;      // of a file with several
  bool all_touched =
      false;  // every pixel that a feature touches, not only those with the centre in
};

// Where `raster`, brought onto the scene by nearest neighbour, lies in [low, high], the class is
// cls.
struct MaskRule {
  uint8_t cls = 0;
  std::filesystem::path raster;
  double low = -INFINITY, high = INFINITY;
};

// The class index is the position in `classes`. The raster's own nodata value is ignored, too,
// unless a class has it.
struct ClassMap {
  std::vector<ClassInfo> classes;
  std::vector<int64_t> ignore;
  std::map<int64_t, uint8_t> further;    // more raw values, and the class that each means
  std::map<std::string, uint8_t> texts;  // the same for attributes of vectors
  std::optional<uint8_t> background;     // of ground under no feature or rule
  VectorLabels vector;
  std::vector<MaskRule> rules;
};

// Throws UsageError: no class or over 255, a value or name twice, a colour that is not #rrggbb.
void check(const ClassMap& map);

// Maps raw values to class indices and counts those nobody knows. Neighbours mostly agree, so the
// last answer is kept.
class LabelMapper {
 public:
  LabelMapper(const ClassMap& map, std::optional<double> nodata);

  uint8_t operator()(double raw);
  // UserError that lists the values no class has.
  void throw_if_unknown(const std::filesystem::path& path) const;

 private:
  void count_unknown(double raw);

  // NaN does not equal itself, so an order that has it first keeps it to one entry.
  struct Order {
    bool operator()(double a, double b) const { return std::isnan(a) ? !std::isnan(b) : a < b; }
  };

  std::unordered_map<double, uint8_t> index_;
  std::map<double, int64_t, Order> unknown_;
  double last_ = NAN;
  uint8_t last_index_ = ignore_label;
  bool nan_is_nodata_ = false, more_unknown_ = false;
};

// Opens a raster of one band that lies on the scene's grid. Throws UserError if it does not (with
// the command that brings it there) or has several; `what` it is, "label", is for the message.
Dataset open_on_grid(const std::filesystem::path& path, const Grid& scene, const std::string& what);

// The whole raster as {1, h, w, 1} u8 of class indices and 255. Throws UserError if it is not on
// the scene's grid (with the command that brings it there) or holds values that no class has.
Tensor read_labels(const std::filesystem::path& path, const Grid& scene, const ClassMap& map,
                   const Share& share = {});

}  // namespace unetd::io
