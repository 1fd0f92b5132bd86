// Inference with a trained network: batch norm folded into the convolutions, one session per shape
// of the input, optional averaging over flips and quarter turns.
#pragma once

#include "engine/autograd/session.h"
#include "unet/input.h"
#include "unet/model.h"

#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

namespace unetd {

// Where an image lies in its scene: bilinear up-sampling with aligned corners depends on it. Sizes
// of 0: the image is the whole scene.
struct ScenePlace {
  int64_t y = 0, x = 0, scene_h = 0, scene_w = 0;
};

class Predictor {
 public:
  // Takes a copy of the parameters (Mode::training or evaluation), folded.
  Predictor(const Params& trained, const UNetConfig& model, SessionOptions options);

  // Logits (n, h, w, classes) f32 of images (n, h, w, c).
  Tensor logits(const Images& images, const ScenePlace& place = {});
  // Class probabilities: softmax, or the sigmoid where `independent` (a network trained with BCE).
  // With `views` > 1 the mean over the first so many of the eight flips and turns (4: flips only,
  // 8: all); whole images or blended tiles only, since a turned tile has no place in its scene.
  Tensor probabilities(const Images& images, bool independent, int views = 1,
                       const ScenePlace& place = {});

  const UNetConfig& model() const { return model_; }
  // Bytes that the sessions made so far hold.
  size_t memory() const;

 private:
  struct Recorded {
    std::unique_ptr<Session> session;
    NetworkInput input;
    Value logits, origin;
  };
  Recorded& recorded(const Images& images, const ScenePlace& place);
  Tensor turned_logits(const Images& images, int symmetry);

  UNetConfig model_;
  SessionOptions options_;
  Params params_;
  // Keyed by image shape, scene size and type of raw samples. Few shapes occur in a scene (tiles,
  // rims, one corner).
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, std::optional<DType>>;
  std::map<Key, Recorded> recorded_;
};

// Softmax over channels, or the sigmoid of each, of logits f32 (n, h, w, c).
Tensor to_probabilities(const Tensor& logits, bool independent);

// The eight symmetries of the square: bit 0 mirrors columns, bit 1 mirrors rows, bit 2 transposes
// first (PatchDraw, engine/tensor/patches.h). `undo` inverts it. Tensors (n, h, w, c) of any type.
Tensor apply_symmetry(const Tensor& image, int symmetry);
Tensor undo_symmetry(const Tensor& image, int symmetry);

}  // namespace unetd
