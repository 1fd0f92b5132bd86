// Inference with a trained network: batch norm folded into the convolutions, one session per shape
// of the input, optional averaging over flips and quarter turns. What is made of the logits is made
// on the device: little but the result leaves it.
#pragma once

#include "engine/autograd/session.h"
#include "unet/band.h"
#include "unet/input.h"
#include "unet/model.h"
#include "unet/score_counter.h"
#include "unet/surrounded.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

namespace unetd {

// Where an image lies in its scene, which matters where sites_in_scene() (unet/model.h). Sizes of
// 0: the image is the whole scene.
struct ScenePlace {
  int64_t y = 0, x = 0, scene_h = 0, scene_w = 0;
};

// What to make of a network's outputs. Probabilities are a softmax, or sigmoids where the network
// was trained with BCE or has a single output. Values are the outputs as they are, which is to say
// the logits, of a network that was trained on targets; they have a mean over views.
enum class Outputs : uint8_t { logits, probabilities, classes, values };

class Predictor {
 public:
  // Takes a copy of the parameters (Mode::training or evaluation), folded. `independent`: trained
  // with BCE.
  Predictor(const Params& trained, const UNetConfig& model, SessionOptions options,
            bool independent = false);

  // Of images (n, h, w, c): values, logits and probabilities are f32 (n, h, w, classes), classes u8
  // (n, h, w, 1), no_class (engine/op/classify.h) where a logit is not a number. Networks without
  // padding predict the middle of an image (UNetConfig::output_side).
  Tensor predict(const Images& images, Outputs outputs, const ScenePlace& place = {});
  Tensor logits(const Images& images, const ScenePlace& place = {}) {
    return predict(images, Outputs::logits, place);
  }

  // Adds values, logits or probabilities of a tile to the band, which must reach it: their mean
  // over the first `views` of the eight flips and turns (4: flips only, 8: all). Such tiles have no
  // place in their scene, and images no draws.
  void blend(const Images& images, Outputs outputs, int views, const Band& band,
             const TileSpot& spot);

  // The classes of whole images by the mean probabilities over so many views. What lies around an
  // image is its mirror image where the network has no padding.
  Tensor classes(const Images& images, int views);
  // Likewise the mean values, f32 (n, h, w, 1).
  Tensor values(const Images& images, int views);
  // Counts the classes against labels u8 (n, h, w, 1).
  void count(const Images& images, const Tensor& labels, int views, const ScoreCounter& counter);

  const UNetConfig& model() const { return model_; }
  const SessionOptions& options() const { return options_; }
  // Bytes that the sessions made so far hold.
  size_t memory() const;

 private:
  enum class Purpose : uint8_t { logits, probabilities, classes, blend_logits, blend, count };
  struct Recorded {
    std::unique_ptr<Session> session;
    NetworkInput input;
    Value origin, result, labels;
    TilePlacement placement;
  };
  // Image shape, scene size, type of raw samples, what the graph ends in, and the memory that it
  // adds to.
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, std::optional<DType>, Purpose,
                         const Buffer*>;
  // Records what follows on the logits.
  using Tail = std::function<void(Graph& g, Recorded& r, Value logits)>;
  Recorded& recorded(const Images& images, const ScenePlace& place, Purpose purpose,
                     const Buffer* target, const Tail& tail);
  std::unique_ptr<Session> make_session(const Graph& g, const Shape& image,
                                        std::optional<DType> raw);
  void run(Recorded& r, const Images& images, const ScenePlace& place);
  Recorded& blending(const Images& images, Outputs outputs, const Band& band);
  Recorded& counting(const Images& images, const ScoreCounter& counter);
  Band& turned(const Surrounded& whole, const Shape& image, Outputs outputs, int views);

  UNetConfig model_;
  SessionOptions options_;
  bool independent_;
  Params params_;
  // Few shapes occur in a scene (tiles, rims, one corner).
  std::map<Key, Recorded> recorded_;
  std::optional<Band> band_;  // of whole images, for several views
};

// The image turned by one of the eight symmetries of the square (engine/op/blend_tile.h), of which
// BlendTile is the inverse. Tensors (n, h, w, c) of any type.
Tensor apply_symmetry(const Tensor& image, int turned);

}  // namespace unetd
