// A patch store: a folder with store.json (what is in it) and shards in safetensors form. A shard
// has
//   image  {n, h, w, bands}  samples as the source files hold them: u8, u16, i16 or f32
//   label  {n, h, w, 1} u8   class indices, 255 = ignore; always 255 where valid is 0
//   valid  {n, h, w, 1} u8   1 where there is data; absent if that is everywhere
// Samples are kept raw so that one store serves every normalisation.
//
// A store of targets (io/targets.h), whose version is another, holds a number a pixel instead:
//   label  {n, h, w, 1} f32  targets in their unit, NaN = ignore; always NaN where valid is 0
// It lies before the image, whose bytes may be of an odd number, so that floats are aligned. Its
// schema has `target` and one class, the network's output, so that counts by class are counts of
// pixels with a target.
#pragma once

#include "engine/base/dtype.h"
#include "engine/tensor/tensor.h"
#include "io/grid.h"
#include "io/labels.h"
#include "io/sampling.h"
#include "io/scene.h"
#include "io/statistics.h"
#include "io/targets.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace unetd::io {

struct StoreSource {
  std::string scene, labels;  // as they were given
  int64_t scene_bytes = 0, label_bytes = 0;
  Grid grid;         // of the scene; its coordinate system by name or code
  std::string date;  // when it was sensed, "2022-10-05"; empty if unknown

  bool operator==(const StoreSource&) const = default;
};

struct PatchRecord {
  int64_t source = 0;
  Window window;  // in the source scene; may reach outside it
  Split split = Split::train;

  bool operator==(const PatchRecord&) const = default;
};

struct ShardRecord {
  std::string file;
  int64_t patches = 0;
};

// Everything store.json says.
struct StoreSchema {
  int64_t patch = 0;  // pixels along each side
  DType dtype = DType::u16;
  Resampling resampling = Resampling::bilinear;  // how scenes were read: SceneOptions
  int resolution = 0;
  std::vector<SceneBand> bands;
  std::vector<ClassInfo> classes;
  std::optional<Target> target;  // of a store of targets; then classes is {output_of(*target)}
  std::vector<StoreSource> sources;
  std::vector<PatchRecord> patches;
  // CRC-32 of each patch: of the bytes of its image, its label and, if its shard has it, its valid.
  std::vector<uint32_t> checksums;
  std::vector<ShardRecord> shards;
  std::vector<BandStatistics> statistics;  // per band, over valid pixels of training patches
  // [split][class], and the ignored pixels at the end.
  std::array<std::vector<int64_t>, 3> class_pixels;

  DType label_type() const { return target ? DType::f32 : DType::u8; }
};

// Writes a store into a folder of its own beside `path`; finish() renames it into place, without it
// the destructor removes all traces. The same calls give the same bytes.
class PatchStoreWriter {
 public:
  // `schema` gives patch, dtype, bands, classes, target's name and unit, and sources. Throws
  // UserError if the store exists and `overwrite` is false, if what exists is no store, or if the
  // folder cannot be written.
  PatchStoreWriter(std::filesystem::path path, StoreSchema schema, bool overwrite);
  ~PatchStoreWriter();
  PatchStoreWriter(const PatchStoreWriter&) = delete;
  PatchStoreWriter& operator=(const PatchStoreWriter&) = delete;

  // image and valid {1, patch, patch, bands or 1}, labels {1, patch, patch, 1} u8, or f32 with
  // targets; labels of invalid pixels are set to 255 or NaN. Throws Error for any other shape or
  // type, for a class that there is not and for an infinite target: all patches are alike.
  void add(const PatchRecord& record, const Raster& raster, Tensor labels);
  // Throws UserError if no patch was added.
  StoreSchema finish();

  // What was added so far: all of the schema but statistics and the last shard, the statistics of
  // the training patches, and the folder that becomes the store, for files beside the shards.
  const StoreSchema& schema() const { return schema_; }
  const std::vector<StatisticsAccumulator>& statistics() const { return statistics_; }
  const std::filesystem::path& folder() const { return temporary_; }

 private:
  void write_shard();
  void count_labels(const PatchRecord& record, const Tensor& labels);
  void add_statistics(const Raster& raster);

  std::filesystem::path path_, temporary_;
  StoreSchema schema_;
  bool overwrite_;
  std::vector<StatisticsAccumulator> statistics_;
  StatisticsAccumulator targets_{DType::f32};
  std::vector<std::byte> images_, labels_, valid_;
  bool all_valid_ = true;
  int64_t pending_ = 0, per_shard_ = 1;
};

// One patch in the mapped store: pointers to dense pixels. Either label or target is null, as the
// schema says; valid is null if all are.
struct PatchView {
  const std::byte* image = nullptr;
  const uint8_t* label = nullptr;
  const float* target = nullptr;
  const uint8_t* valid = nullptr;

  // The one of label and target that there is.
  const void* labels() const {
    return target != nullptr ? static_cast<const void*>(target) : label;
  }
};

// A store opened for reading; its shards are mapped into memory, and of them the system reads what
// is viewed or prefetched. Safe to use from several threads.
class PatchStore {
 public:
  // Throws UserError: no store there, another version, damaged store.json, a shard missing or cut.
  static PatchStore open(const std::filesystem::path& path);
  PatchStore(PatchStore&&) noexcept;
  PatchStore& operator=(PatchStore&&) noexcept;
  ~PatchStore();

  const std::filesystem::path& path() const;
  const StoreSchema& schema() const;
  // Numbers of the patches of a split, ascending.
  const std::vector<int64_t>& indices(Split split) const;
  // Checks the patch's checksum when it is first touched: UserError that names shard and patch if
  // it is damaged.
  PatchView view(int64_t index) const;
  // Asks the system to read a patch that will be viewed soon, and does not wait for it.
  void prefetch(int64_t index) const;
  // The same, copied: samples with their validity, and labels {1, patch, patch, 1} of the
  // schema's label_type().
  Raster raster(int64_t index) const;
  Tensor labels(int64_t index) const;
  // Checks every patch's checksum.
  void verify() const;

 private:
  struct State;
  explicit PatchStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace unetd::io
