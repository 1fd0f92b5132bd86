#include "io/conform.h"

#include "engine/base/error.h"
#include "engine/base/pixel_type.h"
#include "io/stated_value.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

namespace unetd::io {
namespace {

std::string band_list(const std::vector<SceneBand>& bands) {
  std::string text;
  for (const SceneBand& band : bands) text += (text.empty() ? "" : ",") + band.name;
  return text;
}

template <class T>
T converted(T sample, bool valid, const SceneBand& from, const SceneBand& to, double shift) {
  const double low = std::numeric_limits<T>::lowest(), high = std::numeric_limits<T>::max();
  const std::optional<double>& stated = valid ? from.saturated : from.nodata;
  if (stated && is_stated_value(sample, *stated)) {
    const double wanted = (valid ? to.saturated : to.nodata).value_or(*stated);
    return wanted >= low && wanted <= high ? static_cast<T>(wanted) : sample;
  }
  if (!valid) return sample;
  return static_cast<T>(std::clamp(static_cast<double>(sample) + shift, low, high));
}

}  // namespace

void check_conforms(const StoreSchema& store, const Scene& scene) {
  const std::string& first = store.sources.front().scene;
  if (band_list(store.bands) != band_list(scene.bands()))
    throw UserError(str(scene.path().string(), " has bands ", band_list(scene.bands()), ", but ",
                        first, " has ", band_list(store.bands),
                        ": choose common ones with --bands"));
  if (store.dtype != scene.dtype())
    throw UserError(str(scene.path().string(), " holds ", name_of(scene.dtype()), " samples, but ",
                        first, " holds ", name_of(store.dtype),
                        ": convert one with gdal_translate -ot"));
}

Conversion::Conversion(const StoreSchema& store, const Scene& scene)
    : from_(scene.bands()), to_(store.bands) {
  for (size_t b = 0; b < from_.size(); ++b) {
    const SceneBand &from = from_[b], &to = to_[b];
    const double shift = (from.offset - to.offset) / to.scale, whole = std::round(shift);
    if (std::abs(from.scale - to.scale) > 1e-9 * std::abs(to.scale) ||
        (scene.dtype() != DType::f32 && std::abs(shift - whole) > 1e-3))
      throw UserError(str("band ", from.name, " of ", scene.path().string(),
                          " has another scale or offset than in ", store.sources.front().scene,
                          " and no whole number between them: convert one with gdal_translate "
                          "-scale"));
    shifts_.push_back(scene.dtype() == DType::f32 ? shift : whole);
    needed_ = needed_ || shifts_.back() != 0 || from.nodata != to.nodata ||
              from.saturated != to.saturated;
  }
}

void Conversion::apply(Raster& raster) const {
  if (!needed_) return;
  with_pixel_type(raster.image.dtype(), [&](auto zero) {
    auto* sample = static_cast<decltype(zero)*>(raster.image.data());
    for (const uint8_t valid : raster.valid.span<uint8_t>())
      for (size_t b = 0; b < shifts_.size(); ++b, ++sample)
        *sample = converted(*sample, valid != 0, from_[b], to_[b], shifts_[b]);
  });
}

}  // namespace unetd::io
