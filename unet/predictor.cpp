#include "unet/predictor.h"

#include "engine/base/threads.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

namespace unetd {

Predictor::Predictor(const Params& trained, const UNetConfig& model, SessionOptions options)
    : model_(model),
      options_(std::move(options)),
      params_(fold_batch_norm(trained, model, options_.device)) {
  check_precision(model, options_.device);
}

Predictor::Recorded& Predictor::recorded(const Images& images, const ScenePlace& place) {
  // Only bilinear networks look at the scene: others share sessions between scenes.
  const bool windowed = model_.bilinear && place.scene_h != 0;
  const Shape& s = images.shape();
  const Key key{s.n,         s.h, s.w, windowed ? place.scene_h : 0, windowed ? place.scene_w : 0,
                images.raw()};
  if (const auto known = recorded_.find(key); known != recorded_.end()) return known->second;
  constexpr size_t most = 8;  // sessions hold memory: a run over many scenes must not pile them up
  if (recorded_.size() >= most) recorded_.clear();
  Recorded r;
  Graph g;
  r.input = record_input(g, s, images.raw(), /*labelled=*/false, model_.compute);
  SceneWindow window;
  if (windowed) {
    r.origin = g.input({1, 1, 1, 2}, DType::i32, "origin", Kind::dense);
    window = {place.scene_h, place.scene_w, 1, r.origin};
  }
  r.logits = unet(g, params_, model_, r.input.image, Mode::folded, window);
  g.mark_output(r.logits);
  r.session = with_remedy("lower inference.tile, or training.batch to score a store",
                          [&] { return std::make_unique<Session>(g, options_); });
  return recorded_.emplace(key, std::move(r)).first->second;
}

Tensor Predictor::logits(const Images& images, const ScenePlace& place) {
  UNETD_CHECK(images.shape().c == model_.in_channels, "the network takes ", model_.in_channels,
              " bands, the image has ", images.shape().c);
  const bool aligned = place.y % model_.stride() == 0 && place.x % model_.stride() == 0;
  UNETD_CHECK(aligned, "tile at ", place.x, ",", place.y, " is off the network's grid of ",
              model_.stride(), " pixels");
  Recorded& r = recorded(images, place);
  if (r.origin) {
    const int32_t origin[2] = {static_cast<int32_t>(place.y), static_cast<int32_t>(place.x)};
    r.session->write_dense(r.origin, std::as_bytes(std::span(origin)));
  }
  write_input(*r.session, r.input, images);
  r.session->run();
  return r.session->read(r.logits);
}

// Turned on the host, tiles that are not square as well, which no draw may transpose.
Tensor Predictor::turned_logits(const Images& images, int symmetry) {
  const Tensor samples = apply_symmetry(*images.samples, symmetry);
  if (!images.raw()) return logits(samples);
  const Tensor valid = apply_symmetry(*images.valid, symmetry);
  return logits({samples, valid, images.bands});
}

Tensor Predictor::probabilities(const Images& images, bool independent, int views,
                                const ScenePlace& place) {
  UNETD_CHECK(views == 1 || (place.scene_h == 0 && images.draws == nullptr),
              "a turned tile has no place in its scene");
  Tensor sum = to_probabilities(logits(images, place), independent);
  for (int symmetry = 1; symmetry < views; ++symmetry) {
    const Tensor turned = turned_logits(images, symmetry);
    const Tensor back = undo_symmetry(to_probabilities(turned, independent), symmetry);
    const auto from = back.span<float>();
    const auto to = sum.span<float>();
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  }
  for (float& p : sum.span<float>()) p /= static_cast<float>(views);
  return sum;
}

size_t Predictor::memory() const {
  size_t bytes = 0;
  for (const auto& [key, r] : recorded_) bytes += r.session->memory().arena;
  return bytes;
}

Tensor to_probabilities(const Tensor& logits, bool independent) {
  Tensor result = logits.clone();
  const int64_t c = logits.shape().c;
  float* p = result.span<float>().data();
  parallel_for(logits.shape().n * logits.shape().h, [&](int64_t row) {
    for (int64_t i = row * logits.shape().w; i < (row + 1) * logits.shape().w; ++i) {
      float* at = p + i * c;
      if (independent || c == 1) {
        for (int64_t k = 0; k < c; ++k) at[k] = 1 / (1 + std::exp(-at[k]));
        continue;
      }
      const float most = *std::max_element(at, at + c);
      float total = 0;
      for (int64_t k = 0; k < c; ++k) total += at[k] = std::exp(at[k] - most);
      for (int64_t k = 0; k < c; ++k) at[k] /= total;
    }
  });
  return result;
}

namespace {

// Copies pixels: result(h, w) = image(source(h, w)).
template <class Source>
Tensor rearrange(const Tensor& image, int64_t height, int64_t width, Source&& source) {
  const Shape s = image.shape();
  Tensor result({s.n, height, width, s.c}, image.dtype());
  const int64_t pixel = s.c * static_cast<int64_t>(size_of(image.dtype()));
  const auto* from = static_cast<const std::byte*>(image.data());
  auto* to = static_cast<std::byte*>(result.data());
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t h = 0; h < height; ++h) {
      for (int64_t w = 0; w < width; ++w, to += pixel) {
        const auto [y, x] = source(h, w);
        std::copy_n(from + ((n * s.h + y) * s.w + x) * pixel, pixel, to);
      }
    }
  }
  return result;
}

}  // namespace

Tensor apply_symmetry(const Tensor& image, int symmetry) {
  const bool columns = (symmetry & 1) != 0, rows = (symmetry & 2) != 0, swap = (symmetry & 4) != 0;
  const int64_t height = swap ? image.shape().w : image.shape().h;
  const int64_t width = swap ? image.shape().h : image.shape().w;
  return rearrange(image, height, width, [=](int64_t h, int64_t w) {
    const int64_t y = rows ? height - 1 - h : h, x = columns ? width - 1 - w : w;
    return swap ? std::pair{x, y} : std::pair{y, x};
  });
}

Tensor undo_symmetry(const Tensor& image, int symmetry) {
  const bool columns = (symmetry & 1) != 0, rows = (symmetry & 2) != 0, swap = (symmetry & 4) != 0;
  const int64_t height = image.shape().h, width = image.shape().w;
  return rearrange(image, swap ? width : height, swap ? height : width, [=](int64_t h, int64_t w) {
    const int64_t y = swap ? w : h, x = swap ? h : w;
    return std::pair{rows ? height - 1 - y : y, columns ? width - 1 - x : x};
  });
}

}  // namespace unetd
