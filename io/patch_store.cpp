#include "io/patch_store.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/pixel_type.h"
#include "engine/tensor/safetensors.h"
#include "io/checksum.h"
#include "io/patch_store_json.h"
#include "io/stated_value.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
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
  const size_t patch_bytes = static_cast<size_t>(schema_.patch * schema_.patch) *
                             (schema_.bands.size() * size_of(schema_.dtype) + 2);
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
  const auto valid = raster.valid.span<uint8_t>();
  const auto label = labels.span<uint8_t>();
  for (size_t i = 0; i < label.size(); ++i) {
    if (valid[i] == 0) label[i] = ignore_label;
    all_valid_ = all_valid_ && valid[i] != 0;
    UNETD_CHECK(label[i] == ignore_label || label[i] < schema_.classes.size(), "label ",
                int{label[i]});
  }
  count(record, raster, labels);
  append(images_, raster.image);
  append(labels_, labels);
  append(valid_, raster.valid);
  schema_.patches.push_back(record);
  if (++pending_ == per_shard_) write_shard();
}

void PatchStoreWriter::count(const PatchRecord& record, const Raster& raster,
                             const Tensor& labels) {
  auto& pixels = schema_.class_pixels[static_cast<size_t>(record.split)];
  for (const uint8_t label : labels.span<uint8_t>())
    ++pixels[label == ignore_label ? schema_.classes.size() : label];
  if (record.split != Split::train) return;
  const auto* samples = static_cast<const std::byte*>(raster.image.data());
  for (size_t band = 0; band < statistics_.size(); ++band)
    statistics_[band].add(samples + band * size_of(schema_.dtype),
                          raster.valid.span<uint8_t>().data(), labels.count(),
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
      {"label", DType::u8, {pending_, side, side, 1}, labels_}};
  if (!all_valid_) entries.push_back({"valid", DType::u8, {pending_, side, side, 1}, valid_});
  uint32_t crc = 0;
  for (const SafeTensorEntry& entry : entries) crc = crc32(entry.bytes, crc);
  write_safetensors(temporary_ / name, entries, {});
  schema_.shards.push_back({name, pending_, crc});
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
    int64_t first = 0;  // number of its first patch
    uint32_t crc = 0;
    // Not std::call_once: what throws must be tried again, which its once_flag does not do
    // everywhere.
    std::mutex verifying;
    std::atomic<bool> verified = false;
    PatchView base;
  };

  fs::path path;
  StoreSchema schema;
  std::vector<std::unique_ptr<Shard>> shards;
  std::array<std::vector<int64_t>, 3> indices;

  void open_shard(const ShardRecord& record, int64_t first);
  void verify(Shard& shard) const;
};

// Maps a shard and checks its tensors against the schema.
void PatchStore::State::open_shard(const ShardRecord& record, int64_t first) {
  auto shard = std::make_unique<Shard>(path / record.file);
  shard->first = first;
  shard->crc = record.crc32;
  const auto tensor = [&](const char* name, DType dtype, int64_t channels) {
    const SafeTensorInfo& info = shard->file.info(name);
    if (info.dtype != dtype ||
        info.shape != std::vector{record.patches, schema.patch, schema.patch, channels})
      throw UserError(str(shard->file.path().string(), ": tensor '", name,
                          "' does not fit store.json: build the store again"));
    return shard->file.bytes(name).data();
  };
  shard->base.image = tensor("image", schema.dtype, std::ssize(schema.bands));
  shard->base.label = reinterpret_cast<const uint8_t*>(tensor("label", DType::u8, 1));
  if (shard->file.contains("valid"))
    shard->base.valid = reinterpret_cast<const uint8_t*>(tensor("valid", DType::u8, 1));
  shards.push_back(std::move(shard));
}

void PatchStore::State::verify(Shard& shard) const {
  if (shard.verified) return;
  const std::lock_guard lock(shard.verifying);
  if (shard.verified) return;
  uint32_t crc = 0;
  for (const char* name : {"image", "label", "valid"})
    if (shard.file.contains(name)) crc = crc32(shard.file.bytes(name), crc);
  if (crc != shard.crc)
    throw UserError(
        str(shard.file.path().string(),
            " is damaged (its checksum differs from store.json): build the store again"));
  shard.verified = true;
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
  for (size_t i = 0; i < state->schema.patches.size(); ++i)
    state->indices[static_cast<size_t>(state->schema.patches[i].split)].push_back(
        static_cast<int64_t>(i));
  return PatchStore(std::move(state));
}

PatchView PatchStore::view(int64_t index) const {
  const State& s = *state_;
  UNETD_CHECK(index >= 0 && index < std::ssize(s.schema.patches), "patch ", index);
  const auto after =
      std::upper_bound(s.shards.begin(), s.shards.end(), index,
                       [](int64_t i, const auto& shard) { return i < shard->first; });
  State::Shard& shard = **(after - 1);
  s.verify(shard);
  const int64_t pixels = s.schema.patch * s.schema.patch, at = index - shard.first;
  const int64_t patch_bytes =
      pixels * std::ssize(s.schema.bands) * static_cast<int64_t>(size_of(s.schema.dtype));
  return {shard.base.image + at * patch_bytes, shard.base.label + at * pixels,
          shard.base.valid == nullptr ? nullptr : shard.base.valid + at * pixels};
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
  Tensor copy({1, schema().patch, schema().patch, 1}, DType::u8);
  std::memcpy(copy.data(), view(index).label, copy.bytes());
  return copy;
}

void PatchStore::verify() const {
  for (const auto& shard : state_->shards) state_->verify(*shard);
}

}  // namespace unetd::io
