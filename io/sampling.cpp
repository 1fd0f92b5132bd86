#include "io/sampling.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/draw.h"
#include "io/labels.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <sstream>
#include <tuple>

namespace unetd::io {
namespace {

// How many of `n` go to a split: its share, but at least one if it is wanted.
int64_t share(int64_t n, double fraction) {
  return fraction <= 0 ? 0 : std::max<int64_t>(1, std::llround(static_cast<double>(n) * fraction));
}

// Deals things in the order given: the first to valid, the next to test, the rest to train.
std::vector<Split> deal(const std::vector<int64_t>& order, const SplitOptions& options,
                        const std::string& what, const std::string& remedy) {
  if (options.valid < 0 || options.test < 0 || options.valid + options.test >= 1)
    throw UsageError(str("shares of validation ", options.valid, " and test ", options.test,
                         " leave nothing to train on: their sum must lie below 1"));
  const auto n = static_cast<int64_t>(order.size());
  const int64_t valid = share(n, options.valid), test = share(n, options.test);
  if (valid + test >= n)
    throw UserError(
        str("cannot divide ", n, " ", what, " into train, validation and test: ", remedy));
  std::vector<Split> splits(order.size(), Split::train);
  for (int64_t i = 0; i < valid + test; ++i)
    splits[static_cast<size_t>(order[static_cast<size_t>(i)])] =
        i < valid ? Split::valid : Split::test;
  return splits;
}

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream in(line);
  for (std::string cell; std::getline(in, cell, ',');) {
    while (!cell.empty() && (cell.back() == '\r' || cell.back() == ' ')) cell.pop_back();
    while (!cell.empty() && cell.front() == ' ') cell.erase(0, 1);
    cells.push_back(cell);
  }
  return cells;
}

// One line of a tile list, by the columns its header names.
class TileLine {
 public:
  TileLine(const std::filesystem::path& path, int number,
           const std::map<std::string, size_t>& index, const std::string& line)
      : path_(path), number_(number), index_(index), cells_(cells_of(line)) {}

  ListedTile tile() const {
    const int64_t size = integer("size");
    if (size <= 0) fail(str("size is ", size));
    try {
      return {{integer("x"), integer("y"), size, size}, parse_split(cell("split"))};
    } catch (const UsageError& e) {
      fail(e.what());
    }
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(str("tile list ", path_.string(), ", line ", number_, ": ", what,
                        "; a line gives x, y, size and split (train, valid or test)"));
  }
  const std::string& cell(const std::string& column) const {
    const size_t at = index_.at(column);
    if (at >= cells_.size()) fail(str("column ", column, " is missing"));
    return cells_[at];
  }
  int64_t integer(const std::string& column) const {
    const std::string& text = cell(column);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      fail(str(column, " is '", text, "', not a whole number"));
    return value;
  }

  const std::filesystem::path& path_;
  int number_;
  const std::map<std::string, size_t>& index_;
  std::vector<std::string> cells_;
};

void append_grid(const Tensor& labels, const SplitMap& map, const SamplingOptions& options,
                 int64_t stride, bool training, std::vector<PlannedPatch>& patches) {
  Grid grid;
  grid.width = labels.shape().w;
  grid.height = labels.shape().h;
  for (const Window& window : grid_windows(grid, options.patch, stride)) {
    const std::optional<Split> split = map.split_of(window);
    if (split && (*split == Split::train) == training &&
        coverage(labels, window) >= options.min_coverage)
      patches.push_back({window, *split});
  }
}

void append_listed(const SplitMap& map, const SamplingOptions& options,
                   std::vector<PlannedPatch>& patches) {
  for (const ListedTile& tile : map.tiles()) {
    if (tile.window.width != options.patch)
      throw UsageError(str("the listed tiles are ", tile.window.width,
                           " pixels wide, the patch is ", options.patch, ": set the patch size to ",
                           tile.window.width));
    if (tile.split != Split::train || options.samples == 0)
      patches.push_back({tile.window, tile.split});
  }
}

int64_t checked_guard(const SplitOptions& options) {
  if (options.guard < 0) throw UsageError(str("a guard band of ", options.guard, " pixels"));
  return options.guard;
}

}  // namespace

Split parse_split(const std::string& name) {
  if (name == "val" || name == "validation") return Split::valid;
  for (size_t i = 0; i < split_names.size(); ++i)
    if (name == split_names[i]) return static_cast<Split>(i);
  throw UsageError(str("unknown split '", name, "': use train, valid or test"));
}

SplitOptions::Method parse_split_method(const std::string& name) {
  if (name == "scene") return SplitOptions::Method::scene;
  if (name == "date") return SplitOptions::Method::date;
  if (name == "blocks") return SplitOptions::Method::blocks;
  if (name == "list") return SplitOptions::Method::list;
  if (name == "random")
    throw UsageError("a random split by patch leaks neighbouring ground into the test: use blocks");
  throw UsageError(str("unknown split method '", name, "': use scene, date, blocks or list"));
}

std::vector<ListedTile> read_tile_list(const std::filesystem::path& path) {
  std::istringstream in(read_file(path));
  std::string line;
  std::getline(in, line);
  std::map<std::string, size_t> index;
  for (const std::string& name : cells_of(line)) index.emplace(name, index.size());
  for (const char* column : {"x", "y", "size", "split"})
    if (!index.contains(column))
      throw UserError(str("tile list ", path.string(), " has no column '", column,
                          "': its first line must name x, y, size and split"));
  std::vector<ListedTile> tiles;
  for (int number = 2; std::getline(in, line); ++number) {
    if (cells_of(line).empty()) continue;
    tiles.push_back(TileLine(path, number, index, line).tile());
    if (tiles.back().window.width != tiles.front().window.width)
      throw UserError(str("tile list ", path.string(), ", line ", number,
                          ": all tiles must have the size of the first, ",
                          tiles.front().window.width));
  }
  if (tiles.empty()) throw UserError(str("tile list ", path.string(), " lists no tile"));
  for (const ListedTile& a : tiles)
    for (const ListedTile& b : tiles)
      if (a.split != b.split && a.window.touches(b.window))
        throw UserError(str("tile list ", path.string(), ": tiles ", a.window, " and ", b.window,
                            " overlap but belong to different splits: move one"));
  return tiles;
}

std::vector<Window> grid_windows(const Grid& grid, int64_t patch, int64_t stride) {
  std::vector<Window> windows;
  // A window that would only repeat the edge of the one before brings nothing new.
  const auto done = [&](int64_t at, int64_t extent) {
    return at >= extent || (at > 0 && at + patch - stride >= extent);
  };
  for (int64_t y = 0; !done(y, grid.height); y += stride)
    for (int64_t x = 0; !done(x, grid.width); x += stride) windows.push_back({x, y, patch, patch});
  return windows;
}

double coverage(const Tensor& labels, const Window& window) {
  const Shape& s = labels.shape();
  const Window inner = intersection(window, {0, 0, s.w, s.h});
  const uint8_t* data = labels.span<uint8_t>().data();
  int64_t labelled = 0;
  for (int64_t y = inner.y; y < inner.y + inner.height; ++y) {
    const uint8_t* row = data + y * s.w + inner.x;
    for (int64_t x = 0; x < inner.width; ++x) labelled += row[x] != ignore_label ? 1 : 0;
  }
  return static_cast<double>(labelled) / static_cast<double>(window.width * window.height);
}

std::vector<Split> deal_scenes(int64_t scenes, const SplitOptions& options, uint64_t seed) {
  return deal(shuffled(scenes, seed, random_stream(RandomUse::dealing, 0)), options, "scenes",
              "give more scenes, or divide each by blocks");
}

std::vector<Split> deal_dates(const std::vector<std::string>& dates, const SplitOptions& options,
                              uint64_t seed) {
  std::map<std::string, size_t> numbers;
  for (const std::string& date : dates) numbers.emplace(date, 0);
  size_t next = 0;
  for (auto& [date, number] : numbers) number = next++;
  const std::vector<Split> dealt =
      deal(shuffled(std::ssize(numbers), seed, random_stream(RandomUse::dealing, 0)), options,
           "dates", "give scenes of more dates, or divide each by blocks");
  std::vector<Split> splits;
  splits.reserve(dates.size());
  for (const std::string& date : dates) splits.push_back(dealt[numbers.at(date)]);
  return splits;
}

SplitMap SplitMap::whole(Split split) {
  SplitMap map;
  map.whole_ = split;
  return map;
}

SplitMap SplitMap::blocks(const Tensor& labels, const SplitOptions& options, int64_t patch,
                          int64_t scene, uint64_t seed) {
  SplitMap map;
  map.guard_ = checked_guard(options);
  map.block_ = options.block == 0 ? 4 * patch : options.block;
  if (map.block_ < patch)
    throw UsageError(str("blocks of ", map.block_, " pixels hold no patch of ", patch,
                         ": make them several patches wide"));
  const Shape& s = labels.shape();
  map.columns_ = (s.w + map.block_ - 1) / map.block_;
  map.rows_ = (s.h + map.block_ - 1) / map.block_;
  // Empty blocks are not dealt: a split of them would be a split of nothing.
  std::vector<int64_t> filled;
  for (int64_t i = 0; i < map.columns_ * map.rows_; ++i)
    if (coverage(labels, {i % map.columns_ * map.block_, i / map.columns_ * map.block_, map.block_,
                          map.block_}) > 0)
      filled.push_back(i);
  const std::vector<Split> dealt =
      deal(shuffled(std::ssize(filled), seed, random_stream(RandomUse::dealing, scene + 1)),
           options, str("blocks of ", map.block_, " pixels"), "use smaller blocks or patches");
  map.block_splits_.assign(static_cast<size_t>(map.columns_ * map.rows_), Split::train);
  for (size_t i = 0; i < filled.size(); ++i)
    map.block_splits_[static_cast<size_t>(filled[i])] = dealt[i];
  return map;
}

SplitMap SplitMap::listed(std::vector<ListedTile> tiles, const SplitOptions& options) {
  SplitMap map;
  map.guard_ = checked_guard(options);
  map.tiles_ = std::move(tiles);
  return map;
}

std::optional<Split> SplitMap::split_of(const Window& window) const {
  const std::optional<Split> split = split_within(window);
  if (split != Split::train || guard_ == 0) return split;
  const Window wide{window.x - guard_, window.y - guard_, window.width + 2 * guard_,
                    window.height + 2 * guard_};
  return split_within(wide);
}

std::optional<Split> SplitMap::split_within(const Window& window) const {
  if (whole_) return whole_;
  if (block_ == 0) {
    for (const ListedTile& tile : tiles_)
      if (tile.split != Split::train && tile.window.touches(window))
        return tile.window == window ? std::optional(tile.split) : std::nullopt;
    return Split::train;
  }
  std::optional<Split> split;
  const int64_t left = std::max<int64_t>(0, window.x / block_);
  const int64_t top = std::max<int64_t>(0, window.y / block_);
  const int64_t right = std::min((window.x + window.width - 1) / block_, columns_ - 1);
  const int64_t bottom = std::min((window.y + window.height - 1) / block_, rows_ - 1);
  for (int64_t row = top; row <= bottom; ++row) {
    for (int64_t column = left; column <= right; ++column) {
      const Split here = block_splits_[static_cast<size_t>(row * columns_ + column)];
      if (split && *split != here) return std::nullopt;
      split = here;
    }
  }
  return split;
}

std::vector<PlannedPatch> plan_patches(const Tensor& labels, const SplitMap& map,
                                       const SamplingOptions& options, int64_t scene) {
  if (options.patch <= 0 || options.stride < 0 || options.samples < 0 ||
      options.max_per_scene < 0 || options.max_per_date < 0)
    throw UsageError(str("patch ", options.patch, ", stride ", options.stride, ", samples ",
                         options.samples, ", at most ", options.max_per_scene, " a scene and ",
                         options.max_per_date,
                         " a date: patch must be positive, the others not negative"));
  std::vector<PlannedPatch> patches;
  if (options.samples > 0) patches = draw_training(labels, map, options, scene);
  if (!map.tiles().empty()) {
    append_listed(map, options, patches);
  } else {
    const int64_t stride = options.stride == 0 ? options.patch : options.stride;
    if (options.samples == 0) append_grid(labels, map, options, stride, true, patches);
    append_grid(labels, map, options, options.patch, false, patches);
  }
  std::vector<PlannedPatch>* const all = &patches;
  limit_training({&all, 1}, options.max_per_scene, options.seed,
                 random_stream(RandomUse::limiting_scenes, scene));
  std::sort(patches.begin(), patches.end(), [](const PlannedPatch& a, const PlannedPatch& b) {
    return std::tuple(a.split, a.window.y, a.window.x) <
           std::tuple(b.split, b.window.y, b.window.x);
  });
  return patches;
}

void confine_to_training_tiles(const SplitMap& map, Tensor& labels) {
  const Shape& s = labels.shape();
  Tensor confined(s, DType::u8);
  const std::span<uint8_t> from = labels.span<uint8_t>(), to = confined.span<uint8_t>();
  std::fill(to.begin(), to.end(), ignore_label);
  for (const ListedTile& tile : map.tiles()) {
    const Window inner = intersection(tile.window, {0, 0, s.w, s.h});
    if (tile.split != Split::train || inner.width <= 0) continue;
    for (int64_t y = inner.y; y < inner.y + inner.height; ++y)
      std::copy_n(from.data() + y * s.w + inner.x, inner.width, to.data() + y * s.w + inner.x);
  }
  labels = std::move(confined);
}

}  // namespace unetd::io
