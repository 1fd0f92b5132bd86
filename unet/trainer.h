// Training: one recorded step (forward, loss, backward, clipping, AdamW, moving average) that is
// replayed for every batch, and evaluation on the same parameters.
#pragma once

#include "engine/autograd/session.h"
#include "engine/op/optimizer.h"
#include "unet/config.h"
#include "unet/confusion_counter.h"
#include "unet/input.h"
#include "unet/model.h"

#include <memory>
#include <optional>
#include <vector>

namespace unetd {

// The state of AdamW and of the moving average: flat buffers in the layout of Params::values() and
// statistics(). The averages are null without training.ema_decay. Statistics of batch norm are
// averaged along: those of single batches do not fit averaged filters, and jump.
struct OptimizerState {
  std::shared_ptr<Buffer> m, v;
  std::shared_ptr<Buffer> average, average_statistics;
  std::shared_ptr<Buffer> loss_scale;  // a LossScale, for f16 only
};

// A step in f16 whose gradient overflowed changes no parameter: its norm is not finite, and the
// next one has half the loss scale.
struct StepResult {
  double loss = 0, grad_norm = 0, learning_rate = 0;
};

class Trainer {
 public:
  // `batch` is the shape of every image tensor; `steps` the length of the schedule; `loss_weights`
  // has one factor a class for each term of the loss, none of them where a term has no weights, or
  // is empty for no weights at all; `raw` is the type of the samples trained on, or none where
  // images come normalised.
  Trainer(const Config& config, const UNetConfig& model, Shape batch, int64_t steps,
          std::span<const std::vector<float>> loss_weights, std::optional<DType> raw = {});

  // One optimiser step. labels: u8 (n, h, w, 1), 255 ignored, turned along with raw images.
  // Throws Error when loss or gradient are not finite, naming the step; the parameters are then
  // those before it. In f16 only when the gradient stays so however small the loss scale becomes.
  StepResult train(const Images& images, const Tensor& labels);

  // Counts the predictions for a batch of any size on the device, and returns the loss over its
  // valid pixels, without weights of classes. Uses the moving average of the parameters where there
  // is one.
  double evaluate(const Images& images, const Tensor& labels);
  // What evaluate() counted since the last call.
  Confusion take_confusion() { return counter_.take(); }

  int64_t step() const { return step_; }
  void set_step(int64_t step) { step_ = step; }
  int64_t steps() const { return steps_; }
  const UNetConfig& model() const { return model_; }
  Params& params() { return params_; }
  const Params& params() const { return params_; }
  // What inference should use: the moving average where there is one.
  Params inference_params() const;
  OptimizerState& optimizer() { return optimizer_; }
  const OptimizerState& optimizer() const { return optimizer_; }
  // The loss scale of f16, for checkpoints; the start value where there is none.
  LossScale loss_scale() const;
  void set_loss_scale(const LossScale& state);
  // After the parameters were set from outside: the average starts from them.
  void restart_average();
  Session& session() { return *training_->session; }
  const Session& session() const { return *training_->session; }

 private:
  struct Recorded {  // a graph's session with the values that are read or written
    std::unique_ptr<Session> session;
    NetworkInput input;
    Value scalars, loss, norm;
    std::vector<Value> weights;  // of the terms of the loss
    Shape shape;
    std::optional<DType> raw;
  };
  std::unique_ptr<Recorded> record_training(Shape batch, std::optional<DType> raw);
  Recorded& evaluation(const Images& images);
  OptimizerScalars scalars() const;

  Config config_;
  UNetConfig model_;
  DeviceType device_;
  std::vector<std::vector<float>> loss_weights_;
  Params params_;
  OptimizerState optimizer_;
  ConfusionCounter counter_;
  int64_t step_ = 0, steps_;
  int64_t left_out_ = 0;  // steps in a row
  std::unique_ptr<Recorded> training_, evaluation_;
};

}  // namespace unetd
