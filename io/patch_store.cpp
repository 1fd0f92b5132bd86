#include "io/patch_store.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/mapped_file.h"
#include "engine/base/pixel_type.h"
#include "engine/tensor/safetensors.h"
#include "io/checksum.h"
#include "io/patch_store_json.h"
#include "io/stated_value.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <span>
#include <system_error>
#include <utility>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

constexpr size_t shard_bytes = size_t{128} << 20;  // held in memory while a store is written
constexpr const char* schema_file = "store.json";

// Throws unless `path` is free, or a store (or an empty folder) that may be replaced.
void check_target(const fs::path& path, bool overwrite) {
  if (!fs::exists(path)) return;
  const bool store = fs::is_regular_file(path / schema_file);
  if (!store && !(fs::is_directory(path) && fs::is_empty(path)))
    throw UserError(str(path.string(), " exists and is no patch store: choose another name"));
  if (store && !overwrite)
    throw UserError(str(path.string(), " exists: choose another name or pass --overwrite"));
}

void append(std::vector<std::byte>& to, const Tensor& from) {
  const auto* bytes = static_cast<const std::byte*>(from.data());
  to.insert(to.end(), bytes, bytes + from.bytes());
}

// The bytes of a patch; valid is empty if its shard has none.
struct PatchBytes {
  std::span<const std::byte> image, label, valid;

  uint32_t checksum() const { return crc32(valid, crc32(label, crc32(image))); }
};

// Patch number `at` of the shard whose tensors these are.
PatchBytes patch_bytes(const PatchBytes& shard, int64_t at, int64_t patches) {
  const auto part = [&](std::span<const std::byte> all) {
    const size_t size = all.size() / static_cast<size_t>(patches);
    return all.subspan(static_cast<size_t>(at) * size, size);
  };
  return {part(shard.image), part(shard.label), part(shard.valid)};
}

// Invalid pixels that no sample explains: outside the scene, or masked by its file. There all bands
// lack data.
int64_t count_unexplained(const Raster& raster, const std::vector<SceneBand>& bands) {
  int64_t unexplained = 0;
  with_pixel_type(raster.image.dtype(), [&](auto zero) {
    const auto* sample = static_cast<const decltype(zero)*>(raster.image.data());
    for (const uint8_t valid : raster.valid.span<uint8_t>()) {
      bool explained = valid != 0;
      for (size_t b = 0; b < bands.size() && !explained; ++b)
        explained = lacks_data(sample[b], bands[b].nodata);
      unexplained += explained ? 0 : 1;
      sample += bands.size();
    }
  });
  return unexplained;
}

// Labels count only where there is data, and then there must be such a class.
void check_labels(std::span<uint8_t> labels, std::span<const uint8_t> valid, size_t classes) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (valid[i] == 0) labels[i] = ignore_label;
    UNETD_CHECK(labels[i] == ignore_label || labels[i] < classes, "label ", int{labels[i]});
  }
}

void check_targets(std::span<float> targets, std::span<const uint8_t> valid) {
  for (size_t i = 0; i < targets.size(); ++i) {
    if (valid[i] == 0) targets[i] = std::numeric_limits<float>::quiet_NaN();
    UNETD_CHECK(!std::isinf(targets[i]), "an infinite target");
  }
}

}  // namespace

PatchStoreWriter::PatchStoreWriter(fs::path path, StoreSchema schema, bool overwrite)
    : path_(std::move(path)), schema_(std::move(schema)), overwrite_(overwrite) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // "store/" means "store"
  UNETD_CHECK(schema_.patch > 0 && !schema_.bands.empty() && !schema_.classes.empty(), "schema of ",
              path_.string());
  check_target(path_, overwrite);
  temporary_ = temporary_beside(path_);
  std::error_code error;
  fs::create_directory(temporary_, error);
  if (error)
    throw UserError(str("cannot write ", path_.string(), ": ", error.message(),
                        " (does its folder exist, and may you write there?)"));
  for (const SceneBand& band : schema_.bands)
    statistics_.emplace_back(schema_.dtype, band.nodata, band.saturated);
  for (auto& counts : schema_.class_pixels) counts.assign(schema_.classes.size() + 1, 0);
  const size_t pixel_bytes =
      schema_.bands.size() * size_of(schema_.dtype) + size_of(schema_.label_type()) + 1;
  const size_t patch_bytes = static_cast<size_t>(schema_.patch * schema_.patch) * pixel_bytes;
  per_shard_ = std::max<int64_t>(1, static_cast<int64_t>(shard_bytes / patch_bytes));
}

PatchStoreWriter::~PatchStoreWriter() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void PatchStoreWriter::add(const PatchRecord& record, const Raster& raster, Tensor labels) {
  const Shape pixels{1, schema_.patch, schema_.patch, 1};
  Shape image = pixels;
  image.c = std::ssize(schema_.bands);
  UNETD_CHECK(raster.image.shape() == image && raster.image.dtype() == schema_.dtype, "patch ",
              raster.image.shape(), " in a store of ", image);
  UNETD_CHECK(raster.valid.shape() == pixels && labels.shape() == pixels, "valid ",
              raster.valid.shape(), ", labels ", labels.shape(), " in a store of ", pixels);
  UNETD_CHECK(labels.dtype() == schema_.label_type(), "labels of ", name_of(labels.dtype()),
              " in a store of ", name_of(schema_.label_type()));
  const auto valid = raster.valid.span<uint8_t>();
  if (schema_.target)
    check_targets(labels.span<float>(), valid);
  else
    check_labels(labels.span<uint8_t>(), valid, schema_.classes.size());
  all_valid_ = all_valid_ && std::ranges::find(valid, 0) == valid.end();
  count_labels(record, labels);
  if (record.split == Split::train) add_statistics(raster);
  append(images_, raster.image);
  append(labels_, labels);
  append(valid_, raster.valid);
  schema_.patches.push_back(record);
  if (++pending_ == per_shard_) write_shard();
}

void PatchStoreWriter::count_labels(const PatchRecord& record, const Tensor& labels) {
  auto& pixels = schema_.class_pixels[static_cast<size_t>(record.split)];
  if (!schema_.target) {
    for (const uint8_t label : labels.span<uint8_t>())
      ++pixels[label == ignore_label ? schema_.classes.size() : label];
    return;
  }
  std::vector<uint8_t> has_target;
  for (const float target : labels.span<float>()) has_target.push_back(std::isnan(target) ? 0 : 1);
  const auto count = std::ranges::count(has_target, 1);
  pixels[0] += count;
  pixels[1] += labels.count() - count;
  if (record.split == Split::train)
    targets_.add(labels.data(), has_target.data(), labels.count(), 1);
}

void PatchStoreWriter::add_statistics(const Raster& raster) {
  const auto* samples = static_cast<const std::byte*>(raster.image.data());
  for (size_t band = 0; band < statistics_.size(); ++band)
    statistics_[band].add(samples + band * size_of(schema_.dtype),
                          raster.valid.span<uint8_t>().data(), raster.valid.count(),
                          std::ssize(statistics_));
  const int64_t unexplained = count_unexplained(raster, schema_.bands);
  for (StatisticsAccumulator& band : statistics_) band.add_missing(unexplained);
}

void PatchStoreWriter::write_shard() {
  if (pending_ == 0) return;
  char name[32];
  std::snprintf(name, sizeof name, "shard-%05d.safetensors",
                static_cast<int>(schema_.shards.size()));
  const int64_t side = schema_.patch;
  std::vector<SafeTensorEntry> entries = {
      {"image", schema_.dtype, {pending_, side, side, std::ssize(schema_.bands)}, images_},
      {"label", schema_.label_type(), {pending_, side, side, 1}, labels_}};
  if (schema_.target) std::swap(entries[0], entries[1]);  // images may have an odd number of bytes
  if (!all_valid_) entries.push_back({"valid", DType::u8, {pending_, side, side, 1}, valid_});
  const PatchBytes all{images_, labels_, all_valid_ ? std::span<const std::byte>() : valid_};
  for (int64_t i = 0; i < pending_; ++i)
    schema_.checksums.push_back(patch_bytes(all, i, pending_).checksum());
  write_safetensors(temporary_ / name, entries, {});
  schema_.shards.push_back({name, pending_});
  images_.clear();
  labels_.clear();
  valid_.clear();
  all_valid_ = true;
  pending_ = 0;
}

StoreSchema PatchStoreWriter::finish() {
  if (schema_.patches.empty())
    throw UserError(str("no patch for ", path_.string(),
                        ": no window holds enough labelled pixels; lower the patch size or the "
                        "least coverage"));
  write_shard();
  for (const StatisticsAccumulator& s : statistics_) schema_.statistics.push_back(s.result());
  if (schema_.target) {
    const BandStatistics t = targets_.result();
    schema_.target =
        Target{schema_.target->name, schema_.target->unit, t.count, t.min, t.max, t.mean, t.stddev};
  }
  write_file(temporary_ / schema_file, to_json(schema_));
  check_target(path_, overwrite_);
  fs::path old;
  try {
    if (fs::exists(path_)) {
      old = temporary_beside(path_);
      fs::rename(path_, old);
    }
    fs::rename(temporary_, path_);
  } catch (const fs::filesystem_error& e) {
    std::error_code ignored;
    if (!old.empty() && !fs::exists(path_)) fs::rename(old, path_, ignored);
    throw UserError(str("cannot write ", path_.string(), ": ", e.code().message()));
  }
  temporary_.clear();
  std::error_code ignored;
  if (!old.empty()) fs::remove_all(old, ignored);
  return std::move(schema_);
}

struct PatchStore::State {
  struct Shard {
    explicit Shard(const fs::path& path) : file(path) {}

    SafeTensorsFile file;
    int64_t first = 0, patches = 0;  // number of its first patch, and how many there are
    PatchBytes bytes;
  };

  fs::path path;
  StoreSchema schema;
  std::vector<std::unique_ptr<Shard>> shards;
  std::array<std::vector<int64_t>, 3> indices;
  // Of each patch: its checksum was right. Two threads may find so of one patch.
  std::unique_ptr<std::atomic<bool>[]> verified;

  void open_shard(const ShardRecord& record, int64_t first);
  const Shard& shard_of(int64_t index) const;
  PatchBytes bytes_of(int64_t index) const;
};

// Maps a shard and checks its tensors against the schema.
void PatchStore::State::open_shard(const ShardRecord& record, int64_t first) {
  auto shard = std::make_unique<Shard>(path / record.file);
  shard->first = first;
  shard->patches = record.patches;
  const auto tensor = [&](const char* name, DType dtype, int64_t channels) {
    const SafeTensorInfo& info = shard->file.info(name);
    const std::span<const std::byte> bytes = shard->file.bytes(name);
    if (info.dtype != dtype ||
        info.shape != std::vector{record.patches, schema.patch, schema.patch, channels})
      throw UserError(str(shard->file.path().string(), ": tensor '", name,
                          "' does not fit store.json: build the store again"));
    // Patches are prefetched whole; what lies beside them is of others.
    advise(bytes, Access::random);
    return bytes;
  };
  shard->bytes.image = tensor("image", schema.dtype, std::ssize(schema.bands));
  shard->bytes.label = tensor("label", schema.label_type(), 1);
  // Targets are read where they lie; a writer of ours puts them at a place for floats.
  if (schema.target && reinterpret_cast<uintptr_t>(shard->bytes.label.data()) % alignof(float) != 0)
    throw UserError(str(shard->file.path().string(),
                        ": tensor 'label' begins at an odd place: build the store again"));
  if (shard->file.contains("valid")) shard->bytes.valid = tensor("valid", DType::u8, 1);
  shards.push_back(std::move(shard));
}

const PatchStore::State::Shard& PatchStore::State::shard_of(int64_t index) const {
  UNETD_CHECK(index >= 0 && index < std::ssize(schema.patches), "patch ", index);
  const auto after = std::upper_bound(shards.begin(), shards.end(), index,
                                      [](int64_t i, const auto& s) { return i < s->first; });
  return **(after - 1);
}

PatchBytes PatchStore::State::bytes_of(int64_t index) const {
  const Shard& shard = shard_of(index);
  return patch_bytes(shard.bytes, index - shard.first, shard.patches);
}

PatchStore::PatchStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
PatchStore::PatchStore(PatchStore&&) noexcept = default;
PatchStore& PatchStore::operator=(PatchStore&&) noexcept = default;
PatchStore::~PatchStore() = default;

const fs::path& PatchStore::path() const { return state_->path; }
const StoreSchema& PatchStore::schema() const { return state_->schema; }
const std::vector<int64_t>& PatchStore::indices(Split split) const {
  return state_->indices[static_cast<size_t>(split)];
}

PatchStore PatchStore::open(const fs::path& path) {
  if (!fs::is_regular_file(path / schema_file))
    throw UserError(str(path.string(), " is no patch store (it has no ", schema_file,
                        "): build one with unetd-tile"));
  auto state = std::make_unique<State>();
  state->path = path;
  state->schema = schema_from_json(read_file(path / schema_file), path / schema_file);
  int64_t first = 0;
  for (const ShardRecord& record : state->schema.shards) {
    state->open_shard(record, first);
    first += record.patches;
  }
  state->verified = std::make_unique<std::atomic<bool>[]>(state->schema.patches.size());
  for (size_t i = 0; i < state->schema.patches.size(); ++i)
    state->indices[static_cast<size_t>(state->schema.patches[i].split)].push_back(
        static_cast<int64_t>(i));
  return PatchStore(std::move(state));
}

void PatchStore::prefetch(int64_t index) const {
  const PatchBytes bytes = state_->bytes_of(index);
  for (const auto part : {bytes.image, bytes.label, bytes.valid}) advise(part, Access::soon);
}

PatchView PatchStore::view(int64_t index) const {
  const State& s = *state_;
  const PatchBytes bytes = s.bytes_of(index);
  std::atomic<bool>& verified = s.verified[static_cast<size_t>(index)];
  if (!verified) {
    prefetch(index);
    if (bytes.checksum() != s.schema.checksums[static_cast<size_t>(index)]) {
      const State::Shard& shard = s.shard_of(index);
      throw UserError(str(shard.file.path().string(), " is damaged: the checksum of its patch ",
                          index - shard.first, ", number ", index,
                          " of the store, differs from store.json; build the store again"));
    }
    verified = true;
  }
  PatchView patch;
  patch.image = bytes.image.data();
  if (s.schema.target)
    patch.target = reinterpret_cast<const float*>(bytes.label.data());
  else
    patch.label = reinterpret_cast<const uint8_t*>(bytes.label.data());
  patch.valid = reinterpret_cast<const uint8_t*>(bytes.valid.data());
  return patch;
}

Raster PatchStore::raster(int64_t index) const {
  const PatchView from = view(index);
  const int64_t side = schema().patch;
  Raster patch{Tensor({1, side, side, std::ssize(schema().bands)}, schema().dtype),
               Tensor({1, side, side, 1}, DType::u8)};
  std::memcpy(patch.image.data(), from.image, patch.image.bytes());
  if (from.valid != nullptr)
    std::memcpy(patch.valid.data(), from.valid, patch.valid.bytes());
  else
    std::ranges::fill(patch.valid.span<uint8_t>(), uint8_t{1});
  return patch;
}

Tensor PatchStore::labels(int64_t index) const {
  Tensor copy({1, schema().patch, schema().patch, 1}, schema().label_type());
  std::memcpy(copy.data(), view(index).labels(), copy.bytes());
  return copy;
}

void PatchStore::verify() const {
  for (int64_t i = 0; i < std::ssize(schema().patches); ++i) view(i);
}

}  // namespace unetd::io
