#include "io/targets.h"

#include "engine/base/error.h"
#include "io/gdal.h"
#include "io/label_sources.h"
#include "io/stated_value.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <utility>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

constexpr float no_target = std::numeric_limits<float>::quiet_NaN();

void refuse_classes(const fs::path& path) {
  const char* const what = path == "SCL"          ? "the classification of a product"
                           : path == "rules"      ? "rules for classes"
                           : is_vector_file(path) ? "vectors, whose attributes name classes"
                                                  : nullptr;
  if (what != nullptr)
    throw UsageError(
        str("targets ", path.string(), " are ", what,
            ": a target is a raster of numbers (gdal_rasterize makes one of vectors)"));
}

// Sets values where the file's own mask says that there is no data to NaN.
void apply_mask(const Dataset& file, const Window& window, std::vector<double>& values) {
  std::vector<uint8_t> mask(values.size());
  file.read_mask(window, mask.data());
  for (size_t i = 0; i < values.size(); ++i)
    if (mask[i] == 0) values[i] = NAN;
}

}  // namespace

ClassInfo output_of(const Target& target) { return {0, target.name, "#388697"}; }

void check(const TargetOptions& options) {
  const auto is_control = [](unsigned char c) { return c < ' '; };
  if (options.name.empty() || std::ranges::any_of(options.name + options.unit, is_control))
    throw UsageError(str("target '", options.name,
                         "': give its name and, after a colon, its unit, such as height:m"));
}

struct TargetRaster::State {
  Dataset file;
  std::vector<double> ignore;

  const RasterBand& band() const { return file.bands().front(); }
  std::vector<double> read_raw(const Window& window) const;
  bool is(double raw, double stated) const;
  bool lacks_data(double raw) const;
  float target_of(double raw) const;
};

// As stored, NaN where the file's mask says so. Doubles hold every integer that rasters come in up
// to 2^53.
std::vector<double> TargetRaster::State::read_raw(const Window& window) const {
  std::vector<double> values(static_cast<size_t>(window.width * window.height));
  const int first_band = 0;
  file.read(window, {&first_band, 1}, DType::f64, values.data());
  if (file.has_mask()) apply_mask(file, window, values);
  return values;
}

// Large integers are told apart by less than floats that were stated in decimal.
bool TargetRaster::State::is(double raw, double stated) const {
  return band().integer ? raw == stated : is_stated_value(raw, stated);
}

bool TargetRaster::State::lacks_data(double raw) const {
  const std::optional<double> nodata = band().nodata;
  if (!std::isfinite(raw) || (nodata && !std::isnan(*nodata) && is(raw, *nodata))) return true;
  return std::ranges::any_of(ignore, [&](double value) { return is(raw, value); });
}

float TargetRaster::State::target_of(double raw) const {
  if (lacks_data(raw)) return no_target;
  const RasterBand& from = band();
  const double scaled = from.states_scale ? raw * from.scale + from.offset : raw;
  const auto target = static_cast<float>(scaled);
  return std::isfinite(target) ? target : no_target;
}

TargetRaster::TargetRaster(std::unique_ptr<State> state) : state_(std::move(state)) {}
TargetRaster::TargetRaster(TargetRaster&&) noexcept = default;
TargetRaster& TargetRaster::operator=(TargetRaster&&) noexcept = default;
TargetRaster::~TargetRaster() = default;

TargetRaster TargetRaster::open(const fs::path& path, const Grid& scene,
                                const TargetOptions& options) {
  refuse_classes(path);
  Dataset file = open_on_grid(path, scene, "target");
  if (file.bands().front().complex)
    throw UserError(
        str("targets ", path.string(), " are complex numbers: give one real number a pixel"));
  return TargetRaster(std::make_unique<State>(State{std::move(file), options.ignore}));
}

Tensor TargetRaster::read(const Window& window) const {
  Tensor targets({1, window.height, window.width, 1}, DType::f32);
  float* const to = targets.span<float>().data();
  std::fill_n(to, targets.count(), no_target);
  const Window inner = intersection(window, state_->file.grid().whole());
  if (inner.width <= 0 || inner.height <= 0) return targets;
  const std::vector<double> raw = state_->read_raw(inner);
  const double* from = raw.data();
  for (int64_t y = inner.y; y < inner.y + inner.height; ++y) {
    float* const row = to + (y - window.y) * window.width + inner.x - window.x;
    for (int64_t x = 0; x < inner.width; ++x) row[x] = state_->target_of(*from++);
  }
  return targets;
}

Tensor TargetRaster::labels(const Share& share) const {
  const Grid& grid = state_->file.grid();
  Tensor labels({1, grid.height, grid.width, 1}, DType::u8);
  uint8_t* to = labels.span<uint8_t>().data();
  int64_t found = 0;
  for_strips(grid, share, [&](const Window& rows) {
    for (const double raw : state_->read_raw(rows)) {
      const bool has = !std::isnan(state_->target_of(raw));
      found += has ? 1 : 0;
      *to++ = has ? uint8_t{0} : ignore_label;
    }
  });
  if (found == 0)
    throw UserError(str("targets ", state_->file.path().string(),
                        " hold no number: every pixel is without data, not finite or among the "
                        "ignored values; gdalinfo -stats shows what the raster has"));
  return labels;
}

}  // namespace unetd::io
