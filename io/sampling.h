// Which windows of a scene become patches, and to which split each belongs. A split is made of
// regions of ground, never of single patches: neighbouring or overlapping patches on both sides of
// a split would let the test see what was trained on.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/grid.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

enum class Split : uint8_t { train, valid, test };
inline constexpr std::array<const char*, 3> split_names = {"train", "valid", "test"};
// "val" and "validation" are taken for valid. Throws UsageError for an unknown name.
Split parse_split(const std::string& name);

struct SplitOptions {
  // scene: each scene lies wholly in one split. date: all scenes of a date do. blocks: square
  // blocks of ground are dealt out. list: the tiles of a CSV file (columns x, y, size, split;
  // others are ignored).
  enum class Method : uint8_t { scene, date, blocks, list };
  Method method = Method::blocks;
  double valid = 0.15, test = 0.15;  // share of scenes, dates or blocks
  int64_t block = 0;                 // pixels; 0: four patches
  int64_t guard = 0;  // least distance in pixels of a training patch from held-out ground
  std::filesystem::path list;
};
// Throws UsageError for an unknown name; a random split by patch is refused with the reason.
SplitOptions::Method parse_split_method(const std::string& name);

struct SamplingOptions {
  int64_t patch = 256;  // pixels along each side
  int64_t stride = 0;   // between training patches; 0: patch, no overlap
  int64_t samples = 0;  // this many random training patches a scene instead of a regular grid
  // Random training patches are placed around pixels drawn class by class in these proportions, a
  // share for each class; empty: anywhere. Equal shares draw a pixel by its class's inverse
  // frequency.
  std::vector<double> balance;
  double min_coverage = 0.5;  // least share of labelled pixels with data
  // Of training patches no more are kept, each with the same chance; 0: all.
  int64_t max_per_scene = 0, max_per_date = 0;
  uint64_t seed = 0;
};

struct PlannedPatch {
  Window window;
  Split split = Split::train;

  bool operator==(const PlannedPatch&) const = default;
};

struct ListedTile {
  Window window;
  Split split = Split::train;
};
// Throws UserError naming file and line: a column is missing, no number, tiles of several sizes,
// tiles of different splits that overlap.
std::vector<ListedTile> read_tile_list(const std::filesystem::path& path);

// Windows from (0, 0) on that cover a raster; the last ones reach outside it.
std::vector<Window> grid_windows(const Grid& grid, int64_t patch, int64_t stride);

// The share of pixels of a window whose label is not 255; outside the raster there are none.
double coverage(const Tensor& labels, const Window& window);

// Deals `scenes` scenes by a hash of the seed. Throws UserError if there are fewer than splits.
std::vector<Split> deal_scenes(int64_t scenes, const SplitOptions& options, uint64_t seed);

// Deals dates in the same way; the result is of each scene, whose date is given.
std::vector<Split> deal_dates(const std::vector<std::string>& dates, const SplitOptions& options,
                              uint64_t seed);

// The division of one scene's ground.
class SplitMap {
 public:
  static SplitMap whole(Split split);
  // Blocks that hold labelled pixels are dealt by a hash of the seed and the scene's number.
  static SplitMap blocks(const Tensor& labels, const SplitOptions& options, int64_t patch,
                         int64_t scene, uint64_t seed);
  // Held-out tiles are exactly themselves; ground they do not touch may be used for training.
  static SplitMap listed(std::vector<ListedTile> tiles, const SplitOptions& options);

  // The split a window lies in; none if it touches two, or a held-out tile it is not.
  std::optional<Split> split_of(const Window& window) const;
  const std::vector<ListedTile>& tiles() const { return tiles_; }

 private:
  std::optional<Split> split_within(const Window& window) const;

  std::optional<Split> whole_;
  int64_t guard_ = 0;
  int64_t block_ = 0, columns_ = 0, rows_ = 0;
  std::vector<Split> block_splits_;
  std::vector<ListedTile> tiles_;
};

// The patches of a scene, sorted by split, then y, then x. `labels` {1, h, w, 1} are 255 where the
// scene has no data. Validation and test patches never overlap. Random training patches are drawn
// by counter-based random numbers of (seed, scene), and so are those that options.max_per_scene
// keeps; options.max_per_date is the caller's business (io/draw.h).
std::vector<PlannedPatch> plan_patches(const Tensor& labels, const SplitMap& map,
                                       const SamplingOptions& options, int64_t scene);

// For random training windows over listed tiles: labels {1, h, w, 1} of pixels in no training tile
// become 255, so that nothing is learnt from ground the list does not give.
void confine_to_training_tiles(const SplitMap& map, Tensor& labels);

}  // namespace unetd::io
