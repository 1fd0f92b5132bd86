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

  // Calls read(source, valid) for all sources, several at a time: each has a GDAL handle of its
  // own. `valid` is a byte for each pixel of the window, to be cleared where the source has no
  // data.
  using ReadSource = std::function<void(const SceneSource& source, uint8_t* valid)>;
  void for_sources(const Window& inner, const Window& window, std::span<uint8_t> valid,
                   const ReadSource& read) const;
  // One source into the channels of an image of the window: `image` is its first channel's place in
  // the first pixel, `step` the samples from pixel to pixel.
  void read_native(const SceneSource& source, const Window& inner, const Window& window,
                   std::byte* image, int64_t step, uint8_t* valid) const;
  void read_resampled(const SceneSource& source, const Window& inner, const Window& window,
                      std::byte* image, int64_t step, uint8_t* valid) const;
  Plane resampled(const SceneSource& source, const Window& inner, Resampling method) const;
  Plane read_plane(const SceneSource& source, const Window& window) const;
  void check_window(const Window& window, Outside outside) const;
  void clear_holes(const SceneSource& source, const Plane& plane, const Window& window,
                   uint8_t* valid) const;
};

bool is_native(const SceneSource& source) { return source.coarser == 1 && source.finer == 1; }

// Straight into the image: the file's pixels are the scene's.
void Scene::State::read_native(const SceneSource& source, const Window& inner, const Window& window,
                               std::byte* image, int64_t step, uint8_t* valid) const {
  const int64_t first = (inner.y - window.y) * window.width + inner.x - window.x;
  image += first * step * static_cast<int64_t>(size_of(scene.dtype));
  source.file.read(inner, source.bands, scene.dtype, image, step, step * window.width);
  valid += first;
  with_pixel_type(scene.dtype, [&](auto zero) {
    const auto* samples = reinterpret_cast<const decltype(zero)*>(image);
    for (int64_t row = 0; row < inner.height; ++row)
      for (size_t b = 0; b < source.channels.size(); ++b)
        clear_invalid(samples + row * window.width * step + static_cast<int64_t>(b), inner.width,
                      step, scene.bands[static_cast<size_t>(source.channels[b])].nodata,
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

// One band at another resolution, brought to the scene's.
Plane Scene::State::resampled(const SceneSource& source, const Window& inner,
                              Resampling method) const {
  if (source.coarser > 1) {
    const Grid& own = source.file.grid();
    const Window needed = coarse_window(inner, source.coarser, own.width, own.height);
    return upsample(read_plane(source, needed), source.coarser, method, inner);
  }
  const int64_t f = source.finer;
  const Window needed{inner.x * f, inner.y * f, inner.width * f, inner.height * f};
  return downsample(read_plane(source, needed), f, method, inner);
}

// Saturated pixels were holes for the interpolation, but they are data.
void Scene::State::clear_holes(const SceneSource& source, const Plane& plane, const Window& window,
                               uint8_t* valid) const {
  const std::optional<double> saturated =
      scene.bands[static_cast<size_t>(source.channels.front())].saturated;
  const Window& inner = plane.window;
  for (int64_t i = 0; i < inner.width * inner.height; ++i) {
    const auto at = static_cast<size_t>(i);
    if (plane.valid[at] != 0 || (saturated && is_stated_value(plane.values[at], *saturated)))
      continue;
    valid[(i / inner.width + inner.y - window.y) * window.width + i % inner.width + inner.x -
          window.x] = 0;
  }
}

// Read, interpolate or average, round to the scene's type.
void Scene::State::read_resampled(const SceneSource& source, const Window& inner,
                                  const Window& window, std::byte* image, int64_t step,
                                  uint8_t* valid) const {
  const Plane plane =
      resampled(source, inner, source.categories ? Resampling::nearest : resampling);
  clear_holes(source, plane, window, valid);
  with_pixel_type(scene.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* const samples = reinterpret_cast<T*>(image);
    const float* value = plane.values.data();
    for (int64_t row = 0; row < inner.height; ++row) {
      const int64_t first = (inner.y + row - window.y) * window.width + inner.x - window.x;
      for (int64_t x = 0; x < inner.width; ++x)
        samples[(first + x) * step] = to_sample<T>(*value++);
    }
  });
}

void Scene::State::for_sources(const Window& inner, const Window& window, std::span<uint8_t> valid,
                               const ReadSource& read) const {
  for (int64_t row = inner.y - window.y; row < inner.y - window.y + inner.height; ++row)
    std::fill_n(valid.data() + row * window.width + inner.x - window.x, inner.width, uint8_t{1});
  std::mutex merging;
  std::exception_ptr failure;
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < scene.sources.size(); i = next++) {
      std::vector<uint8_t> own(valid.size(), 1);
      std::exception_ptr thrown;
      try {
        read(scene.sources[i], own.data());
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

void Scene::State::check_window(const Window& window, Outside outside) const {
  UNETD_CHECK(window.width > 0 && window.height > 0, path.string(), ": ", window);
  if (outside == Outside::refuse && !scene.grid.whole().contains(window))
    throw UserError(str("cannot read ", window, " of ", path.string(), ": it is ", scene.grid.width,
                        "x", scene.grid.height, " pixels; choose a window inside it"));
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
  s.check_window(window, outside);
  if (outside == Outside::mirror && !s.scene.grid.whole().contains(window))
    return read_mirrored(*this, window);
  const auto channels = static_cast<int64_t>(s.scene.bands.size());
  check_memory(s.path, window, channels * static_cast<int64_t>(size_of(s.scene.dtype)) + 1);
  Raster raster{Tensor({1, window.height, window.width, channels}, s.scene.dtype),
                Tensor({1, window.height, window.width, 1}, DType::u8)};
  const Window inner = intersection(window, s.scene.grid.whole());
  if (inner.width <= 0 || inner.height <= 0) return raster;
  auto* const image = static_cast<std::byte*>(raster.image.data());
  s.for_sources(
      inner, window, raster.valid.span<uint8_t>(), [&](const SceneSource& source, uint8_t* valid) {
        std::byte* const to =
            image + source.channels.front() * static_cast<int64_t>(size_of(s.scene.dtype));
        is_native(source) ? s.read_native(source, inner, window, to, channels, valid)
                          : s.read_resampled(source, inner, window, to, channels, valid);
      });
  return raster;
}

// Where a band is coarser, a pixel has data if the coarse pixel that it lies in has.
Tensor Scene::read_valid(const Window& window) const {
  const State& s = *state_;
  s.check_window(window, Outside::refuse);
  Tensor all({1, window.height, window.width, 1}, DType::u8);
  s.for_sources(
      window, window, all.span<uint8_t>(), [&](const SceneSource& source, uint8_t* valid) {
        if (!is_native(source)) {
          const bool nearest = source.coarser > 1 || source.categories;
          const Resampling method = nearest ? Resampling::nearest : s.resampling;
          s.clear_holes(source, s.resampled(source, window, method), window, valid);
          return;
        }
        const auto step = std::ssize(source.channels);
        Tensor samples({1, window.height, window.width, step}, s.scene.dtype);
        s.read_native(source, window, window, static_cast<std::byte*>(samples.data()), step, valid);
      });
  return all;
}

}  // namespace unetd::io
