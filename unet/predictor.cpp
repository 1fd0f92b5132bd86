#include "unet/predictor.h"

#include "engine/op/blend_tile.h"
#include "unet/fitting.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace unetd {

namespace {

constexpr float even = 0.5F;  // between probabilities

bool as_they_are(Outputs o) { return o == Outputs::logits || o == Outputs::values; }

Shape labels_of(const Shape& image) { return {image.n, image.h, image.w, 1}; }

int64_t longer_side(const UNetConfig& c, const Shape& image) {
  return c.output_side(std::max(image.h, image.w));
}

// Images turned on the host: tiles that are not square as well, which no draw may transpose.
class Turned {
 public:
  Turned(const Images& images, int symmetry) : images_(images) {
    UNETD_CHECK(images.draws == nullptr, "drawn images are not turned again");
    if (symmetry == 0) return;
    samples_ = apply_symmetry(*images.samples, symmetry);
    images_.samples = &samples_;
    if (images.valid == nullptr) return;
    valid_ = apply_symmetry(*images.valid, symmetry);
    images_.valid = &valid_;
  }
  Turned(const Turned&) = delete;
  Turned& operator=(const Turned&) = delete;

  const Images& images() const { return images_; }

 private:
  Tensor samples_, valid_;
  Images images_;
};

}  // namespace

Predictor::Predictor(const Params& trained, const UNetConfig& model, SessionOptions options,
                     bool independent)
    : model_(model),
      options_(std::move(options)),
      independent_(independent),
      params_(fold_batch_norm(trained, model, options_.device)) {
  check_precision(model, options_.device);
}

Predictor::Recorded& Predictor::recorded(const Images& images, const ScenePlace& place,
                                         Purpose purpose, const Buffer* target, const Tail& tail) {
  const Shape image = images.shape();
  UNETD_CHECK(image.c == model_.in_channels, "the network takes ", model_.in_channels,
              " bands, the image has ", image.c);
  // Networks that do not look at the scene share sessions between scenes.
  const bool windowed = sites_in_scene(model_) && place.scene_h != 0;
  const Key key(image.n, image.h, image.w, windowed ? place.scene_h : 0,
                windowed ? place.scene_w : 0, images.raw(), purpose, target);
  if (const auto known = recorded_.find(key); known != recorded_.end()) return known->second;
  // Sessions hold memory: a run over many scenes must not pile them up, nor those of old bands.
  constexpr size_t most = 8;
  std::erase_if(recorded_, [&](const auto& entry) {
    return std::get<Purpose>(entry.first) == purpose &&
           std::get<const Buffer*>(entry.first) != target;
  });
  if (recorded_.size() >= most) recorded_.clear();
  Recorded r;
  Graph g;
  r.input = record_input(g, image, {images.raw(), {}, model_.compute});
  SceneWindow window;
  if (windowed) {
    r.origin = g.input({1, 1, 1, 2}, DType::i32, "origin", Kind::dense);
    window = {place.scene_h, place.scene_w, 1, r.origin};
  }
  tail(g, r, unet(g, params_, model_, r.input.image, Mode::folded, window));
  if (r.result) g.mark_output(r.result);
  r.session = make_session(g, image, images.raw());
  return recorded_.emplace(key, std::move(r)).first->second;
}

// Of several images the batch is what may be smaller, of one its sides.
std::unique_ptr<Session> Predictor::make_session(const Graph& g, const Shape& image,
                                                 std::optional<DType> raw) {
  const bool batch = image.n > 1;
  // A tile's side is that of what it yields, which networks without padding read more than.
  const SizeKey size{.key = batch ? "training.batch" : "inference.tile",
                     .wanted = batch ? image.n : longer_side(model_, image),
                     .step = batch ? 1 : model_.stride(),
                     .otherwise = "use a narrower network or a device with more memory"};
  const auto arena = [&](int64_t wanted) {
    Shape smaller = image;
    if (batch) {
      smaller.n = wanted;
    } else {
      smaller.h = std::min(smaller.h, model_.input_side(wanted));
      smaller.w = std::min(smaller.w, model_.input_side(wanted));
    }
    Graph other;
    const NetworkInput input = record_input(other, smaller, {raw, {}, model_.compute});
    const Value logits = unet(other, params_, model_, input.image, Mode::folded);
    other.mark_output(probabilities(other, logits, independent_));
    return Session::arena_of(other, options_);
  };
  return with_fitting(options_.device, size, arena,
                      [&] { return std::make_unique<Session>(g, options_); });
}

void Predictor::run(Recorded& r, const Images& images, const ScenePlace& place) {
  const int64_t margin = model_.margin();
  const bool aligned = place.scene_h == 0 || ((place.y + margin) % model_.stride() == 0 &&
                                              (place.x + margin) % model_.stride() == 0);
  UNETD_CHECK(aligned, "tile at ", place.x, ",", place.y, " is off the network's grid of ",
              model_.stride(), " pixels");
  if (r.origin) {
    const int32_t origin[2] = {static_cast<int32_t>(place.y), static_cast<int32_t>(place.x)};
    r.session->write_dense(r.origin, std::as_bytes(std::span(origin)));
  }
  write_input(*r.session, r.input, images);
  r.session->run();
}

Tensor Predictor::predict(const Images& images, Outputs outputs, const ScenePlace& place) {
  constexpr Purpose purposes[] = {Purpose::logits, Purpose::probabilities, Purpose::classes,
                                  Purpose::logits};
  Recorded& r = recorded(images, place, purposes[static_cast<size_t>(outputs)], nullptr,
                         [&](Graph& g, Recorded& tail, Value logits) {
                           tail.result = as_they_are(outputs) ? logits
                                         : outputs == Outputs::classes
                                             ? classify(g, logits, 0)
                                             : probabilities(g, logits, independent_);
                         });
  run(r, images, place);
  return r.session->read(r.result);
}

Predictor::Recorded& Predictor::blending(const Images& images, Outputs outputs, const Band& band) {
  UNETD_CHECK(outputs != Outputs::classes, "classes have no mean");
  const bool raw = as_they_are(outputs);
  return recorded(images, {}, raw ? Purpose::blend_logits : Purpose::blend, band.memory(),
                  [&](Graph& g, Recorded& r, Value logits) {
                    const int64_t side = longer_side(model_, images.shape());
                    r.placement = {g.input({1, 1, 2, side}, DType::f32, "weights", Kind::dense),
                                   g.input({1, 1, 1, 3}, DType::i32, "place", Kind::dense)};
                    blend_tile(g, raw ? logits : probabilities(g, logits, independent_),
                               r.placement, band.sums(g));
                  });
}

void Predictor::blend(const Images& images, Outputs outputs, int views, const Band& band,
                      const TileSpot& spot) {
  const auto side = static_cast<size_t>(longer_side(model_, images.shape()));
  UNETD_CHECK(spot.row_weights.size() <= side && spot.column_weights.size() <= side,
              "weights for a larger tile than ", images.shape());
  std::vector<float> weights(2 * side);
  std::ranges::transform(spot.row_weights, weights.begin(),
                         [&](float w) { return w / static_cast<float>(views); });
  std::ranges::copy(spot.column_weights, weights.begin() + static_cast<ptrdiff_t>(side));
  TilePlace place{static_cast<int32_t>(spot.row % band.shape().h),
                  static_cast<int32_t>(spot.column)};
  for (; place.symmetry < views; ++place.symmetry) {
    const Turned turned(images, place.symmetry);
    Recorded& r = blending(turned.images(), outputs, band);
    r.session->write_dense(r.placement.weights, std::as_bytes(std::span(weights)));
    r.session->write_dense(r.placement.place, std::as_bytes(std::span(&place, 1)));
    run(r, turned.images(), {});
  }
}

// The mean over views of a whole image.
Band& Predictor::turned(const Surrounded& whole, const Shape& s, Outputs outputs, int views) {
  const Shape shape{s.n, s.h, s.w, model_.classes};
  if (!band_ || band_->shape() != shape) band_.emplace(options_, shape);
  band_->restart();
  band_->reach(s.h);
  const std::vector<float> ones(static_cast<size_t>(std::max(s.h, s.w)), 1.F);
  const std::span<const float> all(ones);
  blend(whole.images(), outputs, views, *band_,
        {0, 0, all.first(static_cast<size_t>(s.h)), all.first(static_cast<size_t>(s.w))});
  return *band_;
}

Tensor Predictor::classes(const Images& images, int views) {
  const Surrounded whole(images, model_);
  if (views == 1) return whole.part(predict(whole.images(), Outputs::classes));
  return turned(whole, images.shape(), Outputs::probabilities, views)
      .take_classes(0, images.shape().h);
}

Tensor Predictor::values(const Images& images, int views) {
  const Surrounded whole(images, model_);
  if (views == 1) return whole.part(predict(whole.images(), Outputs::values));
  return turned(whole, images.shape(), Outputs::values, views).take(0, images.shape().h);
}

Predictor::Recorded& Predictor::counting(const Images& images, const ScoreCounter& counter) {
  return recorded(images, {}, Purpose::count, counter.memory(),
                  [&](Graph& g, Recorded& r, Value logits) {
                    r.labels = g.input(labels_of(images.shape()), DType::u8, "labels", Kind::dense);
                    const Value whole = on_whole_image(g, logits, images.shape());
                    counter.record(g, whole, 0, probabilities(g, whole, independent_), r.labels);
                  });
}

void Predictor::count(const Images& images, const Tensor& labels, int views,
                      const ScoreCounter& counter) {
  Surrounded whole(images, model_);
  if (views == 1) {
    Recorded& r = counting(whole.images(), counter);
    r.session->write(r.labels, whole.labels(labels));
    return run(r, whole.images(), {});
  }
  const Band& band = turned(whole, images.shape(), Outputs::probabilities, views);
  Graph g;
  const Value truth = g.input(labels_of(images.shape()), DType::u8, "labels", Kind::dense);
  const Value mean = band.sums(g);
  counter.record(g, mean, even, mean, truth);
  Session session(g, options_);
  session.write(truth, labels);
  session.run();
  backend(options_.device).sync(backend(options_.device).stream());  // `session` ends here
}

size_t Predictor::memory() const {
  size_t bytes = 0;
  for (const auto& [key, r] : recorded_) bytes += r.session->memory().arena;
  return bytes;
}

Tensor apply_symmetry(const Tensor& image, int turned) {
  const Shape s = image.shape();
  const bool mirror_columns = (turned & symmetry::columns) != 0,
             mirror_rows = (turned & symmetry::rows) != 0,
             transposed = (turned & symmetry::transpose) != 0;
  const int64_t height = transposed ? s.w : s.h, width = transposed ? s.h : s.w;
  Tensor result({s.n, height, width, s.c}, image.dtype());
  const int64_t pixel = s.c * static_cast<int64_t>(size_of(image.dtype()));
  const auto* from = static_cast<const std::byte*>(image.data());
  auto* to = static_cast<std::byte*>(result.data());
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t h = 0; h < height; ++h) {
      for (int64_t w = 0; w < width; ++w, to += pixel) {
        const int64_t down = mirror_rows ? height - 1 - h : h,
                      along = mirror_columns ? width - 1 - w : w;
        const int64_t y = transposed ? along : down, x = transposed ? down : along;
        std::copy_n(from + ((n * s.h + y) * s.w + x) * pixel, pixel, to);
      }
    }
  }
  return result;
}

}  // namespace unetd
