#include "io/scene.h"

#include "engine/base/error.h"
#include "engine/base/pixel_type.h"
#include "engine/base/threads.h"
#include "engine/tensor/mirror.h"
#include "io/scene_sources.h"
#include "io/stated_value.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

// Clears `valid` where a sample is nodata or not a finite number.
template <class T>
void clear_invalid(const T* samples, int64_t count, int64_t step, std::optional<double> nodata,
                   uint8_t* valid) {
  for (int64_t i = 0; i < count; ++i)
    if (lacks_data(samples[i * step], nodata)) valid[i] = 0;
}

template <class T>
T to_sample(float value) {
  if constexpr (std::is_floating_point_v<T>) {
    return value;
  } else {
    constexpr float low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
    return static_cast<T>(std::lround(std::clamp(value, low, high)));
  }
}

// Refuses what cannot fit before the allocation brings the machine down.
void check_memory(const fs::path& path, const Window& window, int64_t bytes_per_pixel) {
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const double wanted = static_cast<double>(window.width) * static_cast<double>(window.height) *
                        static_cast<double>(bytes_per_pixel);
  if (wanted > memory)
    throw UserError(str("cannot read ", window, " of ", path.string(), ": that takes ",
                        static_cast<int64_t>(wanted / (1 << 20)),
                        " MiB, more than this machine has; read it in smaller windows"));
}

}  // namespace

struct Scene::State {
  fs::path path;
  SceneSources scene;
  Resampling resampling = Resampling::bilinear;
  int threads = 1;

  // All sources, several at a time: each has a GDAL handle of its own.
  void read_sources(const Window& inner, const Window& window, Raster& into) const;
  // One source; clears `valid`, a byte for each pixel of the window, where it has no data.
  void read_native(const SceneSource& source, const Window& inner, const Window& window,
                   Raster& into, uint8_t* valid) const;
  void read_resampled(const SceneSource& source, const Window& inner, const Window& window,
                      Raster& into, uint8_t* valid) const;
  Plane read_plane(const SceneSource& source, const Window& window) const;
};

// Straight into the image: the file's pixels are the scene's.
void Scene::State::read_native(const SceneSource& source, const Window& inner, const Window& window,
                               Raster& into, uint8_t* valid) const {
  const auto channels = static_cast<int64_t>(scene.bands.size());
  const int64_t first = (inner.y - window.y) * window.width + inner.x - window.x;
  const int64_t start = first * channels + source.channels.front();
  auto* image = static_cast<std::byte*>(into.image.data()) +
                start * static_cast<int64_t>(size_of(scene.dtype));
  source.file.read(inner, source.bands, scene.dtype, image, channels, channels * window.width);
  valid += first;
  with_pixel_type(scene.dtype, [&](auto zero) {
    const auto* samples = reinterpret_cast<const decltype(zero)*>(image);
    for (int64_t row = 0; row < inner.height; ++row)
      for (size_t b = 0; b < source.channels.size(); ++b)
        clear_invalid(samples + row * window.width * channels + static_cast<int64_t>(b),
                      inner.width, channels,
                      scene.bands[static_cast<size_t>(source.channels[b])].nodata,
                      valid + row * window.width);
  });
  if (!source.use_mask) return;
  std::vector<uint8_t> mask(static_cast<size_t>(inner.width * inner.height));
  source.file.read_mask(inner, mask.data());
  for (int64_t i = 0; i < inner.width * inner.height; ++i)
    if (mask[static_cast<size_t>(i)] == 0)
      valid[i / inner.width * window.width + i % inner.width] = 0;
}

// A window of a file of one band, in the file's own pixels. Saturated pixels count as holes, so
// that nothing is averaged with them.
Plane Scene::State::read_plane(const SceneSource& source, const Window& window) const {
  const auto count = static_cast<size_t>(window.width * window.height);
  Plane plane{window, std::vector<float>(count), std::vector<uint8_t>(count, 1)};
  source.file.read(window, source.bands, DType::f32, plane.values.data());
  if (source.use_mask) source.file.read_mask(window, plane.valid.data());
  const auto channel = static_cast<size_t>(source.channels.front());
  const SceneBand& band = scene.bands[channel];
  for (const std::optional<double> hole : {band.nodata, band.saturated})
    clear_invalid(plane.values.data(), static_cast<int64_t>(count), 1, hole, plane.valid.data());
  return plane;
}

// One band at another resolution: read, interpolate or average, round to the scene's type.
void Scene::State::read_resampled(const SceneSource& source, const Window& inner,
                                  const Window& window, Raster& into, uint8_t* valid) const {
  const Grid& own = source.file.grid();
  const Resampling method = source.categories ? Resampling::nearest : resampling;
  Plane plane;
  if (source.coarser > 1) {
    const Window needed = coarse_window(inner, source.coarser, own.width, own.height);
    plane = upsample(read_plane(source, needed), source.coarser, method, inner);
  } else {
    const int64_t f = source.finer;
    const Window needed{inner.x * f, inner.y * f, inner.width * f, inner.height * f};
    plane = downsample(read_plane(source, needed), f, method, inner);
  }
  const auto channel = source.channels.front();
  const std::optional<double> saturated =
      scene.bands[static_cast<size_t>(source.channels.front())].saturated;
  const auto is_saturated = [&](float value) {
    return saturated && is_stated_value(value, *saturated);
  };
  with_pixel_type(scene.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* image = static_cast<T*>(into.image.data());
    for (int64_t i = 0; i < inner.width * inner.height; ++i) {
      const int64_t pixel = (i / inner.width + inner.y - window.y) * window.width +
                            i % inner.width + inner.x - window.x;
      const auto at = static_cast<size_t>(i);
      image[pixel * std::ssize(scene.bands) + channel] = to_sample<T>(plane.values[at]);
      if (plane.valid[at] == 0 && !is_saturated(plane.values[at])) valid[pixel] = 0;
    }
  });
}

void Scene::State::read_sources(const Window& inner, const Window& window, Raster& into) const {
  const std::span<uint8_t> valid = into.valid.span<uint8_t>();
  for (int64_t row = inner.y - window.y; row < inner.y - window.y + inner.height; ++row)
    std::fill_n(valid.data() + row * window.width + inner.x - window.x, inner.width, uint8_t{1});
  std::mutex merging;
  std::exception_ptr failure;
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < scene.sources.size(); i = next++) {
      const SceneSource& source = scene.sources[i];
      std::vector<uint8_t> own(valid.size(), 1);
      std::exception_ptr thrown;
      try {
        source.coarser == 1 && source.finer == 1
            ? read_native(source, inner, window, into, own.data())
            : read_resampled(source, inner, window, into, own.data());
      } catch (...) {
        thrown = std::current_exception();
        next = scene.sources.size();
      }
      const std::lock_guard lock(merging);
      if (!failure) failure = thrown;
      std::ranges::transform(own, valid, valid.begin(), std::bit_and<uint8_t>());
    }
  };
  const auto helpers = std::min<size_t>(static_cast<size_t>(threads), scene.sources.size()) - 1;
  {
    std::vector<std::jthread> others;
    for (size_t i = 0; i < helpers; ++i) others.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

Scene::Scene(std::unique_ptr<State> state) : state_(std::move(state)) {}
Scene::Scene(Scene&&) noexcept = default;
Scene& Scene::operator=(Scene&&) noexcept = default;
Scene::~Scene() = default;

const fs::path& Scene::path() const { return state_->path; }
const Grid& Scene::grid() const { return state_->scene.grid; }
const std::vector<SceneBand>& Scene::bands() const { return state_->scene.bands; }
const std::string& Scene::date() const { return state_->scene.date; }
DType Scene::dtype() const { return state_->scene.dtype; }

Scene Scene::open(const fs::path& path, const SceneOptions& options) {
  return Scene(std::make_unique<State>(
      State{path, open_sources(path, options), options.resampling, thread_count()}));
}

namespace {

// Reads the part of a scene of this size that the window shows, once or mirrored, and mirrors it.
Raster read_mirrored(const Scene& scene, const Window& window) {
  const Grid& grid = scene.grid();
  std::vector<int64_t> rows = mirrored_line(window.y, window.height, grid.height);
  std::vector<int64_t> columns = mirrored_line(window.x, window.width, grid.width);
  const auto [top, bottom] = std::ranges::minmax(rows);
  const auto [left, right] = std::ranges::minmax(columns);
  const Raster seen = scene.read({left, top, right - left + 1, bottom - top + 1});
  for (int64_t& row : rows) row -= top;
  for (int64_t& column : columns) column -= left;
  return {take_pixels(seen.image, rows, columns), take_pixels(seen.valid, rows, columns)};
}

}  // namespace

Raster Scene::read(const Window& window, Outside outside) const {
  const State& s = *state_;
  UNETD_CHECK(window.width > 0 && window.height > 0, s.path.string(), ": ", window);
  if (outside == Outside::mirror && !s.scene.grid.whole().contains(window))
    return read_mirrored(*this, window);
  if (outside == Outside::refuse && !s.scene.grid.whole().contains(window))
    throw UserError(str("cannot read ", window, " of ", s.path.string(), ": it is ",
                        s.scene.grid.width, "x", s.scene.grid.height,
                        " pixels; choose a window inside it"));
  const auto channels = static_cast<int64_t>(s.scene.bands.size());
  check_memory(s.path, window, channels * static_cast<int64_t>(size_of(s.scene.dtype)) + 1);
  Raster raster{Tensor({1, window.height, window.width, channels}, s.scene.dtype),
                Tensor({1, window.height, window.width, 1}, DType::u8)};
  const Window inner = intersection(window, s.scene.grid.whole());
  if (inner.width <= 0 || inner.height <= 0) return raster;
  s.read_sources(inner, window, raster);
  return raster;
}

}  // namespace unetd::io
